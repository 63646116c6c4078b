#!/usr/bin/env python3
"""Writes expected.json beside this file: what the library jinja2, set up as transformers does for chat templates, makes of
every template here with the variables of cases.json; null where it refuses. Usage: render.py"""
import datetime
import json
import pathlib

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = 1700049600


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception
environment.globals["strftime_now"] = lambda form: datetime.datetime.fromtimestamp(NOW).strftime(form)

here = pathlib.Path(__file__).parent
cases = json.loads((here / "cases.json").read_text(encoding="utf-8"))
expected = {}
for path in sorted(here.glob("*.jinja")):
    template = environment.from_string(path.read_text(encoding="utf-8"))
    texts = expected[path.stem] = []
    for case in cases:
        try:
            texts.append(template.render(**case))
        except (jinja2.exceptions.TemplateError, TypeError, KeyError, IndexError):
            texts.append(None)
(here / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
