/** Certificates for tests, made here: X.509 by hand, since Node reads certificates but makes none. */
import { generateKeyPairSync, sign } from "node:crypto";

/** A self-signed certificate and its private key, PEM. */
export interface Certificate {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** One value in DER: its tag, its length, its content. */
function der(tag: number, ...content: readonly (Buffer | readonly number[])[]): Buffer {
  const body = Buffer.concat(content.map((part) => Buffer.from(part)));
  const length = body.length < 128 ? [body.length] : [0x82, body.length >> 8, body.length & 255];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
}

const [INTEGER, BITS, OCTETS, OID, UTF8, SEQUENCE, SET, TIME] = [0x02, 0x03, 0x04, 0x06, 0x0c, 0x30, 0x31, 0x18];
/** 1.2.840.10045.4.3.2 */
const ECDSA_WITH_SHA256 = der(SEQUENCE, der(OID, [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]));
/** 2.5.4.3 */
const COMMON_NAME = der(OID, [0x55, 0x04, 0x03]);
/** 2.5.29.17 */
const ALTERNATIVE_NAMES = der(OID, [0x55, 0x1d, 0x11]);

function pem(label: string, bytes: Buffer): Buffer {
  const lines = bytes.toString("base64").match(/.{1,64}/g) ?? [];
  return Buffer.from([`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ""].join("\n"));
}

/** Makes a certificate for the host `name`, valid from 2000 to 2100. */
export function certificate(name: string): Certificate {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const who = der(SEQUENCE, der(SET, der(SEQUENCE, COMMON_NAME, der(UTF8, Buffer.from(name)))));
  const validity = der(SEQUENCE, der(TIME, Buffer.from("20000101000000Z")), der(TIME, Buffer.from("21000101000000Z")));
  const hosts = der(SEQUENCE, der(0x82, Buffer.from(name)));
  const extensions = der(0xa3, der(SEQUENCE, der(SEQUENCE, ALTERNATIVE_NAMES, der(OCTETS, hosts))));
  const content = der(
    SEQUENCE,
    der(0xa0, der(INTEGER, [2])), // version 3
    der(INTEGER, [1]), // serial number
    ECDSA_WITH_SHA256,
    who, // issuer
    validity,
    who, // subject
    publicKey.export({ type: "spki", format: "der" }),
    extensions,
  );
  const signature = der(BITS, [0], sign("sha256", content, privateKey));
  return {
    cert: pem("CERTIFICATE", der(SEQUENCE, content, ECDSA_WITH_SHA256, signature)),
    key: Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" })),
  };
}
