"""Reading cards in tests."""

from aiinfra_lab.show import Card


def one_line(card: Card) -> str:
    """All that a card says, without the breaks of its lines."""
    return " ".join(card.text().split())
