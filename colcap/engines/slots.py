"""Shared memory between processes, without names: the kernel frees it with the last process that has it."""

from __future__ import annotations

import io
import os
import pickle
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

ALIGNMENT: Final = 64

SMALLEST: Final = 1 << 20
"""Slots come in powers of two from here, in bytes, so that they fit the next window, too."""


class Slot:
    """A piece of memory that other processes map by its file descriptor.

    Examples
    --------
    >>> slot = Slot(1 << 20)
    >>> slot.write(np.arange(3, dtype=np.uint8))
    >>> other = Slot(1 << 20, fd=os.dup(slot.fd))
    >>> other.bytes[:3].tolist()
    [0, 1, 2]
    """

    def __init__(self, capacity: int, *, fd: int | None = None) -> None:
        import torch

        self.capacity = capacity
        self.fd = os.memfd_create("colcap") if fd is None else fd
        if fd is None:
            os.truncate(self.fd, capacity)
        # What torch's own sharing does on receipt: tensors over this memory then travel to the engine without a copy.
        self._storage: Any = torch.UntypedStorage._new_shared_fd_cpu(self.fd, capacity)

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self.fd)

    @property
    def bytes(self) -> NDArray[np.uint8]:
        """All of it."""
        import torch

        whole: NDArray[np.uint8] = torch.empty(0, dtype=torch.uint8).set_(self._storage).numpy()
        return whole

    def write(self, frames: NDArray[np.uint8]) -> None:
        """Copy frames to its start."""
        self.bytes[: frames.nbytes].reshape(frames.shape)[:] = frames

    def tensor(self, dtype: str, shape: tuple[int, ...], offset: int) -> torch.Tensor:
        """A tensor over a part of it."""
        import torch

        empty = torch.empty(0, dtype=getattr(torch, dtype))
        strides = torch.empty(shape, device="meta").stride()
        return empty.set_(self._storage, offset // empty.element_size(), shape, strides)


class Slots:
    """Slots that are not in use, for the next who needs one; safe to use from several threads."""

    def __init__(self) -> None:
        self._free: list[Slot] = []
        self._lock = threading.Lock()

    def take(self, num_bytes: int) -> Slot:
        """A slot of at least `num_bytes`, one that was used before where possible: its pages are there already."""
        with self._lock:
            fitting = [slot for slot in self._free if slot.capacity >= num_bytes]
            if fitting:
                slot = min(fitting, key=lambda slot: slot.capacity)
                self._free.remove(slot)
                return slot
            self._free = self._free[1:]  # sizes have changed: let the oldest go
        return Slot(max(SMALLEST, 1 << (num_bytes - 1).bit_length()))

    def give_back(self, slot: Slot) -> None:
        """Nobody reads or writes it any more."""
        with self._lock:
            self._free.append(slot)


class SlotPickler(pickle.Pickler):
    """Pickles an object whose tensors go into a slot, as far as they fit."""

    def __init__(self, stream: io.BytesIO, slot: Slot) -> None:
        super().__init__(stream, protocol=5)
        self._slot, self._used = slot, 0

    def persistent_id(self, obj: object) -> object:
        """A tensor's type, shape and place in the slot; None for everything else."""
        import torch

        if not isinstance(obj, torch.Tensor) or not obj.is_cpu:
            return None
        size, offset = obj.numel() * obj.element_size(), self._used
        if offset + size > self._slot.capacity:
            return None
        shape = tuple(obj.shape)
        dtype = str(obj.dtype).removeprefix("torch.")
        self._slot.tensor(dtype, shape, offset).copy_(obj)
        self._used += -(-size // ALIGNMENT) * ALIGNMENT
        return dtype, shape, offset


class SlotUnpickler(pickle.Unpickler):
    """Reads what SlotPickler wrote; the tensors are views of the slot."""

    def __init__(self, stream: io.BytesIO, slot: Slot) -> None:
        super().__init__(stream)
        self._slot = slot

    def persistent_load(self, pid: Any) -> Any:
        """The tensor at a place in the slot."""
        return self._slot.tensor(*pid)
