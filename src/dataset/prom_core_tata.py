"""Core promoters with a TATA box: the smaller part of ``dataset=prom_core_all``."""

from src.dataset.prom_core_all import read  # noqa: F401
