"""The docstrings under the fields of a struct, which Python itself does not keep."""

import ast
import inspect
import textwrap


def field_docs(struct: type) -> dict[str, str]:
    """The string under each field of a class, by field name, with its line breaks joined.

    Reads the class's source: some milliseconds, so ask when help is wanted and not before.
    """
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(struct))).body
    assert isinstance(definition, ast.ClassDef)
    docs = {}
    for field, doc in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(doc, ast.Expr)
            and isinstance(doc.value, ast.Constant)
        ):
            docs[field.target.id] = " ".join(str(doc.value.value).split())
    return docs
