"""Sharing: equal weights of different ops become one array, so that ``is`` tells everywhere what exists once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .precision import Array

if TYPE_CHECKING:
    from .op import Op

SAMPLE = 32  # numbers that tell most different arrays of one shape apart, so that few are hashed
REPEATED = 4  # copies that count as much as one array more: they are dropped, but take time to make and to compare


class Sharing:
    """Replaces the weights of ops by equal ones of ops met before.

    A vector of one number throughout, such as a bias of zeros, equals others by chance. It is shared only between ops
    that share all their other weights, as the calls of one layer do.

    Attributes
    ----------
    spent : int
        Bytes of all arrays that ops hold, and of `REPEATED` copies as much as of one.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru.graph import Dense
    >>> sharing, weight = Sharing(), np.arange(6.0).reshape(2, 3)
    >>> first, second = (sharing.op(Dense(weight, np.zeros(2))) for _ in range(2))
    >>> first.weight is second.weight, first.bias is second.bias
    (True, True)
    >>> other = sharing.op(Dense(weight + 1, np.zeros(2)))
    >>> other.weight is first.weight, other.bias is first.bias
    (False, False)
    """

    def __init__(self) -> None:
        self.spent = 0
        self._kept: dict[int, Array] = {}  # by id: they stay alive, so no other array gets the id
        self._first: dict[tuple[Any, ...], Array] = {}  # of those with one dtype, shape and sample
        self._hashed: dict[tuple[Any, ...], dict[int, list[Array]]] = {}  # all of them, where there are several

    def op(self, op: Op) -> Op:
        """Return `op` with arrays met before in the place of equal ones; `op` itself where there is none."""
        given = op.weights()
        if not given:
            return op
        arrays = {name: self.array(array) for name, array in given.items() if not _is_uniform(array)}
        if arrays and len(arrays) < len(given):
            beside = tuple(map(id, arrays.values()))
            arrays = {n: arrays[n] if n in arrays else self.array(array, n, *beside) for n, array in given.items()}
        self.spent += sum(array.nbytes for name, array in given.items() if name not in arrays)
        changed = {name: array for name, array in arrays.items() if array is not given[name]}
        return op.holding(changed) if changed else op

    def array(self, array: Array, *company: object) -> Array:
        """Return the first array that equalled `array`, which may be itself; `company` must be equal, too."""
        if id(array) in self._kept:
            self.spent += array.nbytes // REPEATED
            return array
        key = (array.dtype.str, array.shape, _sample(array), *company)
        first = self._first.setdefault(key, array)
        found = first if first is array or array.size <= SAMPLE else self._equal(key, first, array)
        if found is array:
            self._kept[id(array)] = array
        self.spent += array.nbytes if found is array else array.nbytes // REPEATED
        return found

    def _equal(self, key: tuple[Any, ...], first: Array, array: Array) -> Array:
        """Return the array of this key that holds the very bits of `array`, which is kept where none does."""
        if key not in self._hashed:
            self._hashed[key] = {hash(first.tobytes()): [first]}
        bits = array.tobytes()
        alike = self._hashed[key].setdefault(hash(bits), [])  # few, as Python's hash of bytes can't be foreseen
        found = next((other for other in alike if other.tobytes() == bits), array)
        if found is array:
            alike.append(array)
        return found


def _is_uniform(array: Array) -> bool:
    """True if `array` is a vector or a scalar of one number throughout."""
    return array.ndim < 2 and array.item(0) == array.item(-1) and bool((array == array.item(0)).all())


def _sample(array: Array) -> bytes:
    """The bytes of at least `SAMPLE` numbers spread over an array; of all numbers where there are no more."""
    flat = array.reshape(-1)
    return flat[:: max(1, flat.size // SAMPLE)].tobytes()
