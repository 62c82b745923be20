"""The instructions as C and Cython declare them: the text of the files that `setup.py` writes for a build.

A class of `instructions` is a struct with the members of its fields, by their names, and with those that it says are
derived; `fg_instruction` is the head that all have and a union of the rest. Of every field a row of a table tells the
loader its name, its kind and its place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

from . import instructions as engine
from .codes import ABSENT, FOLDS, FUNCTIONS, PHASE_GATES, PHASES, SHOWN
from .kinds import KINDS, LIMITS, NUMBERS, OPTIONAL, Kind, kind_of, snake

MADE = "Made by setup.py from fastgru/lowering/instructions.py."
PREFIXES = {  # of names in enums; FG_ of the others
    "fg_op": "FG_OP_", "fg_fold": "FG_FOLD_", "fg_kind": "FG_KIND_", "fg_shown": "FG_SHOWN_",
}  # fmt: skip
KERNELS = {"fg_micro": engine.Micro, "fg_phase": engine.Phase}  # what kernels read, too
RECORDS: dict[str, Any] = {
    **KERNELS, "fg_strides": engine.Rows, "fg_operand": engine.Operand, "fg_layer": engine.Layer,
    "fg_value": engine.Buffer,
}  # fmt: skip
BASES = (engine.Recurrent, engine.Nest, engine.FrameRows, engine.Line)  # whose instructions have codes side by side
OPS = {kind.mnemonic: kind.code for kind in engine.INSTRUCTIONS}
KIND_CODES = {snake(name): code for code, name in enumerate(KINDS, 1)}
CYTHON = {"fg_idx": "idx", "fg_instruction": "Instruction", "fg_value": "Value"}  # as the engine calls them


class Field(NamedTuple):
    """A field of a class, its kind and the row of that."""

    name: str
    kind: str
    row: Kind
    optional: bool


class Member(NamedTuple):
    """A member of a struct."""

    type: str
    name: str  # with what stands behind it

    def __str__(self) -> str:
        return f"{self.type}{'' if self.type.endswith('*') else ' '}{self.name};"


def fields_of(cls: Any) -> list[Field]:
    """Return the fields of a class in their order, those of its bases first.

    Raises
    ------
    TypeError
        When the annotation of one is no kind.
    """
    if hasattr(cls, "_fields"):  # a named tuple keeps its annotations as references
        annotations = {name: getattr(given, "__forward_arg__", given) for name, given in cls.__annotations__.items()}
    else:
        annotations = {field.name: str(field.type) for field in dataclasses.fields(cls)}
    found = []
    for name, given in annotations.items():
        kind = kind_of(given)
        if kind not in KINDS:
            raise TypeError(f"{cls.__name__}.{name}: annotation must be one of {', '.join(KINDS)}, got {given!r}")
        if given.endswith(OPTIONAL) and KINDS[kind].plain != "Array":
            raise TypeError(f"{cls.__name__}.{name}: annotation must be {kind!r}, as arrays alone may be None")
        found.append(Field(name, kind, KINDS[kind], given.endswith(OPTIONAL)))
    return found


def has_count(row: Kind) -> bool:
    """Return whether a member says how many items a field has: loops are counted in their nest."""
    return row.most > 0 and not row.member


def members_of(cls: Any, fields: list[Field]) -> list[Member]:
    """Return the members of a class that these fields and what it derives by itself make."""
    derived: dict[str, str] = getattr(cls, "derived", {})
    if cls is not engine.Instruction and derived is engine.Instruction.derived:
        derived = {}
    found = [Member(given, name) for name, given in derived.items()]
    for name, _, row, _ in fields:
        if has_count(row):
            found.append(Member("int", f"n_{name}"))
        if row.c:
            found.append(Member(row.c, row.member or f"{name}{row.dims}"))
    names = [member.name.partition("[")[0] for member in dict.fromkeys(found)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise TypeError(f"{cls.__name__}: members must have names of their own, got {', '.join(sorted(twice))} twice")
    return list(dict.fromkeys(found))


def own_fields(cls: Any) -> list[Field]:
    """Return the fields of an instruction beside those that all have."""
    return [field for field in fields_of(cls) if field.name not in engine.Instruction._names]


def structs(classes: dict[str, Any]) -> Iterator[tuple[str, str, list[Member]]]:
    """Yield the name, the comment and the members of the struct of every class that has any."""
    for name, cls in classes.items():
        if members := members_of(cls, fields_of(cls)):
            yield name, cls.__doc__.partition("\n")[0], members


def variants() -> dict[str, tuple[str, list[Member]]]:
    """Return the comments and members of what the union holds, by name: of instructions that have fields, and bases."""
    found = {}
    for cls in (*BASES, *engine.INSTRUCTIONS):
        if own := members_of(cls, own_fields(cls)):
            found[snake(cls.__name__)] = (cls.__doc__ or "").partition("\n")[0], own
    return found


# Text -----------------------------------------------------------------------------------------------


def _enum(name: str, codes: dict[str, int]) -> list[str]:
    rows = (f"  {PREFIXES.get(name, 'FG_')}{row.upper()} = {code}" for row, code in codes.items())
    return [f"enum {name} {{", ",\n".join(rows), "};", ""]


def _header(guard: str, lines: list[str]) -> str:
    name = f"FASTGRU_{guard}_H"
    return "\n".join([f"/* {MADE} */", f"#ifndef {name}", f"#define {name}", "", *lines, "#endif", ""])


def _struct(name: str, comment: str, members: list[Member]) -> list[str]:
    return [f"/* {comment} */", "typedef struct {", *(f"  {member}" for member in members), f"}} {name};", ""]


def codes_h() -> str:
    """Return the text of ``codes.h``."""
    lines = _enum("fg_phase_kind", {**PHASES, "phases": len(PHASES)})
    lines += _enum("fg_function", {**FUNCTIONS, "functions": max(FUNCTIONS.values()) + 1})
    lines += _enum("fg_fold", FOLDS) + _enum("fg_shown", SHOWN)
    lines += _enum("fg_limit", {**LIMITS, "absent": ABSENT, "phase_gates": PHASE_GATES})
    return _header("CODES", lines)


def records_h() -> str:
    """Return the text of ``records.h``, which `fastgru.h` includes behind the types that it needs."""
    return _header("RECORDS", [line for each in structs(KERNELS) for line in _struct(*each)])


def instructions_h() -> str:
    """Return the text of ``instructions.h``."""
    lines = [
        '#include "fastgru.h"',
        "",
        *_enum("fg_op", {**OPS, "count": len(OPS)}),
        "typedef struct fg_instruction fg_instruction;",
        "",
    ]
    for each in structs({name: cls for name, cls in RECORDS.items() if name not in KERNELS}):
        lines += _struct(*each)
    for name, (comment, members) in variants().items():
        lines += _struct(f"fg_op_{name}", comment, members)
    head = members_of(engine.Instruction, fields_of(engine.Instruction))
    lines += ["struct fg_instruction {", *(f"  {member}" for member in head), "  union {"]
    lines += [f"    fg_op_{name} {name};" for name in variants()] + ["  };", "};", ""]
    for base in BASES:
        first, last = family(base)
        test = f"FG_OP_{first.mnemonic.upper()} <= ins->op && ins->op <= FG_OP_{last.mnemonic.upper()}"
        lines += [f"static inline int fg_is_{snake(base.__name__)}(const fg_instruction *ins) {{", f"  return {test};"]
        lines += ["}", ""]
    rows = [f"  row({kind.mnemonic.upper()}, {kind.body or kind.mnemonic})" for kind in engine.INSTRUCTIONS]
    lines += ["#define FG_EACH_OP(row) \\", " \\\n".join(rows), ""]
    lines += [
        "/* The rules of time and fields; the fewest and the most inputs and further outputs; kinds of the first input",
        " * and of the rest, a bit for each of `NUMBERS`; that of the output, -1: any; whether it fills that. */",
    ]
    return _header(
        "INSTRUCTIONS", [*lines, "#define FG_EACH_NEED(row) \\", " \\\n".join(map(_need, engine.INSTRUCTIONS)), ""]
    )


def family(base: type[engine.Instruction]) -> tuple[type[engine.Instruction], type[engine.Instruction]]:
    """Return the first and the last instruction that derive from a base: those between do, too."""
    found = [kind for kind in engine.INSTRUCTIONS if issubclass(kind, base)]
    if engine.INSTRUCTIONS[found[0].code : found[-1].code + 1] != tuple(found):
        raise TypeError(f"{base.__name__}: instructions must stand side by side in INSTRUCTIONS, got others between")
    return found[0], found[-1]


def fields_h() -> str:
    """Return the text of ``fields.h``: for each record and instruction a table of its fields, in their order."""
    lines = ['#include "instructions.h"', "", *_enum("fg_kind", KIND_CODES)]
    lines += [
        "/* A field: its name, kind and place; what messages say that it must be; of an integer its range; of a tuple",
        " * the place of its number of items, the most of them and what messages call them; of a record its own. The",
        " * bytes are those of an integer or record; an array may be none where it is optional. */",
        "typedef struct fg_field {", "  const char *name;", "  int kind, most, optional; /* enum fg_kind */",
        "  size_t at, count, size;", "  int64_t least, greatest;", "  const char *must, *items;",
        "  const struct fg_field *fields;", "} fg_field;", "",
    ]  # fmt: skip
    for name, (struct, path, fields) in tables().items():
        rows = [_row(field, struct, path) for field in fields]
        lines += [f"static const fg_field {name}[] = {{", *rows, "  {.name = NULL},", "};", ""]
    lines += ["/* Those of an instruction beside `fg_instruction_fields`, by its enum fg_op. */"]
    lines += ["static const fg_field *const fg_op_fields[] = {"]
    lines += [f"  fg_op_{cls.mnemonic}_fields," for cls in engine.INSTRUCTIONS]
    return _header("FIELDS", [*lines, "};", ""])


def tables() -> dict[str, tuple[str, str, list[Field]]]:
    """Return the tables of fields by name: the struct that they lie in, the path to them there, and the fields."""
    found = {}
    for name, cls in {**RECORDS, "fg_instruction": engine.Instruction}.items():
        found[f"{name}_fields"] = name, "", fields_of(cls)
    for cls in engine.INSTRUCTIONS:
        found[f"fg_op_{cls.mnemonic}_fields"] = "fg_instruction", f"{cls.mnemonic}.", own_fields(cls)
    return found


def _row(field: Field, struct: str, path: str) -> str:
    name, kind, row, optional = field
    parts = [f'.name = "{name}"', f".kind = FG_KIND_{snake(kind).upper()}"]
    if row.c:
        parts.append(f".at = offsetof({struct}, {path}{row.member or name})")
    if row.must:
        parts.append(f'.must = "{row.must}"')
    if row.least or row.greatest:
        parts += [f".least = {row.least}", f".greatest = {row.greatest}"]
    if optional:
        parts.append(".optional = 1")
    if row.most:
        parts += [f".most = {row.most}", f'.items = "{row.items}"']
    if has_count(row):
        parts.append(f".count = offsetof({struct}, {path}n_{name})")
    if (record := row.c.removesuffix(" *")) in RECORDS:
        parts.append(f".fields = {record}_fields")
    if record in (*RECORDS, "int", "fg_idx"):
        parts.append(f".size = sizeof({record})")
    return f"  {{{', '.join(parts)}}},"


def _need(kind: type[engine.Instruction]) -> str:
    needs = kind.needs
    first, rest = (sum(1 << NUMBERS.index(name) for name in names) for names in (needs.kinds[0], needs.kinds[-1]))
    made = NUMBERS.index(needs.made) if needs.made else -1
    numbers = ", ".join(map(str, (*needs.inputs, *needs.outputs, first, rest, made, int(needs.whole))))
    return f"  row({kind.mnemonic.upper()}, {needs.time}, {needs.check or kind.mnemonic}, {numbers})"


def codes_pxd() -> str:
    """Return the text of ``codes.pxd``: codes of instructions and kinds, structs and tables."""
    lines = [f"# {MADE}", "", "from .c cimport fg_act, fg_matrix, fg_nest, idx", ""]
    lines += ['cdef extern from "fastgru/fields.h" nogil:', "    enum:"]
    lines += [f'        {name} "FG_{name}"' for name in ("ABSENT", "MAX_CLOCKS", "MAX_LOOPS")]
    lines += [f'        {name.upper()} "FG_OP_{name.upper()}"' for name in OPS]
    lines += [f'        KIND_{name.upper()} "FG_KIND_{name.upper()}"' for name in KIND_CODES]
    for name, _, members in structs(RECORDS):
        lines += _cython(name, members)
    unions = [Member(f"fg_op_{name}", name) for name in variants()]
    for name, (_, members) in variants().items():
        lines += _cython(f"fg_op_{name}", members)
    head = members_of(engine.Instruction, fields_of(engine.Instruction))
    lines += _cython("fg_instruction", [*head, *unions])
    lines += ["    ctypedef struct fg_field:", "        const char *name", "        int kind, most"]
    lines += ["        size_t at, count, size", "        const fg_field *fields"]
    lines += [f"    const fg_field *{name}_fields" for name in (*RECORDS, "fg_instruction")]
    lines += ["    const fg_field *const *fg_op_fields"]
    tests = [snake(base.__name__) for base in BASES]
    lines += [f'    bint is_{name} "fg_is_{name}"(const Instruction *)' for name in tests]
    return "\n".join([*lines, ""])


def _cython(name: str, members: list[Member]) -> list[str]:
    shown = f'{CYTHON[name]} "{name}"' if name in CYTHON else name
    rows = (str(Member(_known(member.type), member.name)).removesuffix(";") for member in members)
    return [f"    ctypedef struct {shown}:", *(f"        {row}" for row in rows)]


def _known(type_: str) -> str:
    word, star, _ = type_.partition(" *")
    return CYTHON.get(word, word) + star


FILES = {
    "include/fastgru/codes.h": codes_h,
    "include/fastgru/records.h": records_h,
    "include/fastgru/instructions.h": instructions_h,
    "include/fastgru/fields.h": fields_h,
    "fastgru/engine/codes.pxd": codes_pxd,
}
