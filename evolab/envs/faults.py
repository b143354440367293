"""What becomes of a failure of one environment: it is survived and shown once, or it ends the run."""

from __future__ import annotations

from evolab.core import checks
from evolab.envs.base import EnvironmentFault, StepFault

CHOICES = ("survive", "raise")


class FaultPolicy:
    """Whether failures are survived; environments that are made from the same source share one.

    Args:
        on_fault: "survive", "raise", or None: exceptions of an environment that has never worked are raised,
            everything else is survived.

    Attributes:
        worked: True as soon as one step of one environment has gone well.

    Raises:
        ValueError: another word.
    """

    def __init__(self, on_fault: str | None = None) -> None:
        if on_fault is not None and on_fault not in CHOICES:
            raise checks.unknown("on_fault", on_fault, CHOICES)
        self.on_fault, self.worked = on_fault, False
        self._shown: set[tuple[str, ...]] = set()

    @classmethod
    def of(cls, given: str | FaultPolicy | None) -> FaultPolicy:
        """The policy that a word stands for."""
        return given if isinstance(given, FaultPolicy) else cls(given)

    def note(self, worked: bool) -> None:
        """Some steps have been taken; True where one of them has gone well."""
        self.worked = self.worked or worked

    def meet(self, name: str, fault: StepFault) -> None:
        """Raise a failure, or show it where it is the first of its kind. What an agent did wrong passes.

        Args:
            name: of the environment.
            fault: what happened.

        Raises:
            EnvironmentFault: it is not to be survived.
        """
        if fault.kind == "action":
            return
        which = "an environment" if fault.index is None else f"environment {fault.index}"
        told = f"{name}: {which} failed: {fault.message}\n{fault.detail}".rstrip()
        if self.on_fault == "raise":
            raise EnvironmentFault(told)
        if self.on_fault is None and fault.kind == "raise" and not self.worked:
            raise EnvironmentFault(
                f"{told}\nNo step has ever gone well in it, so there is nothing to go on with; "
                "on_fault='survive' tries all the same."
            )
        key = (fault.kind, fault.message.partition(":")[0], _place(fault.detail))
        if key not in self._shown:
            self._shown.add(key)
            checks.notice(
                f"{told}\nIts episode is dropped and training goes on; further failures of this kind are only "
                "counted. on_fault='raise' stops at the first."
            )


def _place(detail: str) -> str:
    """The line of code that raised, as the traceback names it."""
    lines = [line for line in detail.splitlines() if line.lstrip().startswith("File ")]
    return lines[-1] if lines else ""
