// Who is writing? Reads a `Portero-Identity` from its standard input and prints its claims.
import { createRemoteJWKSet, jwtVerify } from "jose";
import { readFileSync } from "node:fs";

const portero = process.env.PORTERO_URL;
const keys = createRemoteJWKSet(new URL(`${portero}/.well-known/jwks.json`));
const rules = {
  algorithms: ["EdDSA"],
  audience: "bot",
  clockTolerance: 60, // seconds that two clocks may differ
  issuer: portero,
  requiredClaims: ["exp", "jti", "sub"],
  typ: "portero-identity+jwt",
};

try {
  const identity = readFileSync(0, "utf8").trim();
  const { payload } = await jwtVerify(identity, keys, rules);
  console.log(JSON.stringify(payload));
} catch (error) {
  console.error(error.code); // not the error itself: it has the claims in it
  process.exitCode = 1;
}
