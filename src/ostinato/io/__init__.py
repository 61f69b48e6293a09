"""Values on their way to storage and back: serializers, exceptions, the result store."""
