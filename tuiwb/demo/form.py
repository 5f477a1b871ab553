"""The form that the demo teaches: an answer as a little manual page of three lines.

    NAME: cache - a small and fast store for data that is used often
    DESCRIPTION: It saves the trip to slower memory, because what was needed once is soon needed again.
    SEE ALSO: memory, processor, cache miss

A model that was not trained on it answers in prose, so whether the training worked can be decided exactly.
"""

LABELS = ("NAME", "DESCRIPTION", "SEE ALSO")


def has_form(answer: str) -> bool:
    """Whether an answer is a page."""
    return not form_fault(answer)


def form_fault(answer: str) -> str:
    """Why an answer is no page, or "" where it is one.

    A page has three lines, each with its label: a term, ` - ` and its meaning; a sentence with its full stop; three
    different terms with commas between them. Blanks around the answer do not matter.
    """
    lines = answer.strip().split("\n")
    values = []
    for number, label in enumerate(LABELS, 1):
        line = lines[number - 1] if number <= len(lines) else ""
        if not line.startswith(f"{label}: "):
            return f"line {number} does not begin with `{label}:`"
        values.append(line[len(label) + 2 :].strip())
    if len(lines) > len(LABELS):
        return f"it has {len(lines)} lines, not {len(LABELS)}"
    name, description, also = values
    term, _, meaning = name.partition(" - ")
    if not (term.strip() and meaning.strip()):
        return "NAME is not a term, a dash and its meaning"
    if not description.endswith(".") or len(description) < 2:
        return "DESCRIPTION is not a sentence"
    terms = [each.strip().lower() for each in also.split(",")]
    if len(terms) != 3 or not all(terms) or len(set(terms)) != 3:
        return "SEE ALSO does not name three different things"
    return ""
