"""Verifies a token twice: as a bot would, with PyJWT, and by hand, with nothing but Ed25519.

Reads {"jwks", "token", "issuer", "audience"} from standard input and writes {"claims", "header"} or
{"refused"} to standard output.
"""

import base64
import json
import sys

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def by_hand(jwks, token):
    header, claims, signature = token.split(".")
    kid = json.loads(unpadded(header))["kid"]
    (key,) = [key for key in jwks["keys"] if key["kid"] == kid]
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("OKP", "Ed25519", "EdDSA", "sig")
    public = Ed25519PublicKey.from_public_bytes(unpadded(key["x"]))
    public.verify(unpadded(signature), f"{header}.{claims}".encode())
    return json.loads(unpadded(claims))


def with_pyjwt(jwks, token, issuer, audience):
    key = jwt.PyJWKSet.from_dict(jwks)[jwt.get_unverified_header(token)["kid"]]
    return jwt.decode(
        token,
        key,
        algorithms=["EdDSA"],
        issuer=issuer,
        audience=audience,
        options={"require": ["exp", "iat", "iss", "aud", "sub", "jti"]},
    )


asked = json.load(sys.stdin)
try:
    claims = with_pyjwt(**asked)
    assert claims == by_hand(asked["jwks"], asked["token"])
    answer = {"claims": claims, "header": jwt.get_unverified_header(asked["token"])}
except (jwt.PyJWTError, InvalidSignature) as error:
    answer = {"refused": type(error).__name__}
json.dump(answer, sys.stdout)
