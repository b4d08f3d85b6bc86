"""The embedded model: a Qwen2.5-VL of 1.6 million parameters that captions the clips of `synth` and nothing else."""
