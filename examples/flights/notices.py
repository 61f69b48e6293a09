"""A stand-in for an unreliable outside source: what kept New York's airports busy in 2013.

The days and causes are real, written down by hand. The connection is not: it exists to fail, so that the
demo has something to retry, and it fails in the same way every time.
"""

NOTICES = {
    "2013-02-08": "Blizzard “Nemo” comes in; the airports stop by the evening",
    "2013-02-09": "The day after blizzard “Nemo”",
    "2013-03-08": "Nor'easter with late snow",
    "2013-04-22": "First working day of the controllers' furlough (budget sequestration)",
    "2013-06-13": "Line of severe thunderstorms from the Midwest to the coast",
    "2013-07-22": "Southwest 345 breaks its nose gear on landing; LaGuardia closed for hours",
    "2013-12-14": "Snowstorm",
}


def ask(attempt: int) -> dict[str, str]:
    """Ask the source for the year's notices.

    Args:
        attempt: Which try this is, from 1.

    Returns:
        A notice by day (ISO date).

    Raises:
        ConnectionError: On the first two tries, always.
    """
    if attempt <= 2:  # noqa: PLR2004
        message = f"the notice board hung up on purpose (attempt {attempt}; it answers the third)"
        raise ConnectionError(message)
    return NOTICES
