"""Fill a template of an HTML page or of Markdown; pages look alike and need nothing from elsewhere."""

from pathlib import Path

import jinja2

from src.system.errors import printable


def render(template: Path, **values) -> str:
    """Return the text of a template; an HTML one extends ``base.html``, which has the style."""
    loader = jinja2.FileSystemLoader([template.parent, Path(__file__).parent])
    options = {"trim_blocks": True, "undefined": jinja2.StrictUndefined, "loader": loader}
    environment = jinja2.Environment(autoescape=template.suffix == ".html", **options)
    return printable(environment.get_template(template.name).render(**values), keep="\n")
