"""Classes of a job's own rules, by the names that its model has for them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.classes import MAX_SUGGESTED, ClassNames
from pipelines.domain import Rule
from pipelines.errors import InputError


def with_known_classes(
    rules: Sequence[Rule], labels: Sequence[str], model: str
) -> tuple[Rule, ...]:
    """The rules with the model's own names: `People` becomes `person`.

    Args:
        labels: class names of the model.
        model: its name, for the error.

    Raises:
        InputError: the model lacks a class that a rule names, so that the rule would never fire.
    """
    known = ClassNames(labels)
    unknown = [
        (rule.id, name) for rule in rules for name in rule.classes if known.find(name) is None
    ]
    if unknown:
        raise _unknown(unknown, known, model)
    return tuple(_renamed(rule, known) for rule in rules)


def _renamed(rule: Rule, known: ClassNames) -> Rule:
    found = (known.find(name) for name in rule.classes)
    classes = tuple(dict.fromkeys(label for label in found if label is not None))
    return rule.model_copy(update={"classes": classes})


def _unknown(unknown: list[tuple[str, str]], known: ClassNames, model: str) -> InputError:
    named = "; ".join(_problem(rule, name, known) for rule, name in unknown[:MAX_SUGGESTED])
    more = len(unknown) - MAX_SUGGESTED
    return InputError(
        f"the model {model} lacks classes of the rules: {named}"
        + (f"; and {more} more." if more > 0 else "."),
        hint="Correct the rules, or use --model with one that has them. It knows: "
        f"{known.listed()}.",
    )


def _problem(rule: str, name: str, known: ClassNames) -> str:
    meant = known.meant(name)
    return f"rule {rule!r} names {name!r}" + (f" ({meant})" if meant else "")
