"""The rules, by their codes: 0xx of the lint itself, 1xx whether it runs at all, 2xx safety, 3xx quality."""

from __future__ import annotations

from .base import LintRule
from .environment import InstallsPackages, MistakenForMagic, NotInstalled, UndefinedMagic, UnknownKernel
from .ignores import UnknownIgnore
from .names import UndefinedName
from .quality import LatestTag, NetworkRead, NewestData, NoSeed
from .running import (
    ChangedFolder,
    DerivedParameter,
    ExecutionOrder,
    HomePath,
    SecondParameters,
    UndeclaredFile,
    UnreadableCell,
    WaitsForPeople,
)
from .safety import EndlessLoop, LargeOutputs, LiteralSecret, PrintedSecret
from .thresholds import RefusedLine

RULES: tuple[LintRule, ...] = (
    UnknownIgnore(),
    UnreadableCell(),
    UndefinedName(),
    ExecutionOrder(),
    DerivedParameter(),
    WaitsForPeople(),
    HomePath(),
    ChangedFolder(),
    NotInstalled(),
    InstallsPackages(),
    UndeclaredFile(),
    UndefinedMagic(),
    MistakenForMagic(),
    UnknownKernel(),
    SecondParameters(),
    LiteralSecret(),
    PrintedSecret(),
    LargeOutputs(),
    EndlessLoop(),
    NoSeed(),
    LatestTag(),
    NetworkRead(),
    RefusedLine(),
    NewestData(),
)
