"""List the verbs: ``python -m src``."""

from src.config.shell import show, verbs

if __name__ == "__main__":
    show("\n".join(f"python -m src.{name:12} {text}" for name, text in verbs().items()))
