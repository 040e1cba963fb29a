"""What schemathesis makes up is turned into what clients send."""

import schemathesis


@schemathesis.hook
def map_body(context, body):
    """JSON Schema takes 1.0 for an integer. Clients write 1, and the API takes nothing else."""
    return whole(body)


def whole(value):
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [whole(one) for one in value]
    if isinstance(value, dict):
        return {name: whole(one) for name, one in value.items()}
    return value
