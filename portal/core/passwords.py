"""How a demo keeps its passwords: they are printed on the screen, so their hash need not cost half a second each."""

from django.contrib.auth.hashers import Argon2PasswordHasher


class DemoPasswordHasher(Argon2PasswordHasher):
    """Argon2 with the least work it takes; only under HEADWATER_DEMO. A real portal's hashes are verified as well."""

    algorithm = "argon2demo"
    time_cost = 1
    memory_cost = 64
    parallelism = 1
