"""Whether a cluster takes this process: some want the token that Ray made when they began.

Ray itself uses a token only where RAY_AUTH_MODE says so, and asks on for half a minute where a
cluster refuses it.
"""

from __future__ import annotations

import os

from ray._private.authentication.authentication_token_setup import (
    maybe_enable_token_auth_if_token_available,
)
from ray._raylet import AuthenticationTokenLoader, GcsClient  # type: ignore[attr-defined]
from ray.exceptions import AuthenticationError, RpcError

from cmir.errors import InputError
from cmir.process.silence import silent_errors

MODE = "RAY_AUTH_MODE"
ADVICE = (
    "Copy the file ~/.ray/auth_token of who started the cluster to the same place here, or set "
    "RAY_AUTH_TOKEN to what is in it."
)


def check_token(address: str) -> None:
    """Asks a cluster at `host:port`, and shows it the token that lies here if it wants one.

    Raises:
        InputError: it wants another one, or there is none.
    """
    has_token = AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)
    if os.environ.get(MODE, "").lower() == "token" and not has_token:
        # Ray would end the process with a dump of its stack.
        raise InputError(f"{MODE} is token, but there is none here. {ADVICE}")
    if not _is_refused(address):
        return
    if not has_token:
        raise InputError(f"--address {address}: the cluster wants a token. {ADVICE}")
    # Ray writes a line for each question that was refused, and for each token.
    with silent_errors():
        is_shown = maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    if not is_shown:
        mode = os.environ.get(MODE)
        raise InputError(f"--address {address}: the cluster wants a token, but {MODE} is {mode}.")
    if _is_refused(address):
        raise InputError(f"--address {address}: the cluster refuses the token found here. {ADVICE}")


def _is_refused(address: str) -> bool:
    try:
        # Ray writes a line for each question that was refused, and for each token.
        with silent_errors():
            GcsClient(address=address)
    except AuthenticationError:
        return True
    except RpcError:
        # Whatever else is wrong, joining says it.
        return False
    return False
