"""colcap: video clips to captions you can query."""
