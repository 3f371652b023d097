"""A language model that answers customers of a shop, and the grading of its answers.

No language model can be packaged with a manual: `generate` stands in for it. It can count, and it has a habit of real
models: asked to explain itself, it may end with a number that is not the answer.
"""

GOODS = ("tea", "rice", "soap", "lamp", "chair")


def questions():
    """Return 180 items: the question, the expected answer, and the kind of the question as its group."""
    items = []
    for number in range(180):
        name, price, count = GOODS[number % 5], 3 + number, 2 + number % 7
        kind, question, expected = (
            ("total", f"One {name} costs {price}. How much are {count}?", price * count),
            ("discount", f"A {name} at {price} is {count} cheaper today. How much is it?", price - count),
            ("change", f"I buy {count} times {name} at {price} and pay 5000. How much is left?", 5000 - price * count),
        )[number % 3]
        items.append({"item": f"q{number}", "prompt": question, "expected": str(expected), "group": kind})
    return items


def generate(prompt):
    """Answer a prompt as the language model does."""
    instruction, question = prompt.split("\n")
    numbers = [int(word.strip(".?")) for word in question.split() if word.strip(".?").isdigit()]
    if "cheaper" in question:
        answer = numbers[0] - numbers[1]
    elif "left" in question:
        answer = 5000 - numbers[0] * numbers[1]
    else:
        answer = numbers[0] * numbers[1]
    if "step by step" not in instruction:
        return f"{answer}"
    explained = f"You get {answer} back: it costs {5000 - answer}." if "left" in question else f"That makes {answer}."
    return f"{explained} Answer: {answer}" if "end with" in instruction else explained


def right(answer, item):
    """Grade an answer: its last number is the expected one."""
    numbers = [word.strip(".:") for word in answer.split() if word.strip(".:").isdigit()]
    return numbers[-1:] == [item["expected"]]
