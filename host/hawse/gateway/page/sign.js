// EIP-712 messages of a venue, signed in the browser: Keccak-256 and secp256k1, for an agent's key.
//
// Big integers take no constant time: who measures this page's time to the nanosecond may learn about its key.
// So it is for agents, which trade and cannot withdraw.

const MASK = (1n << 64n) - 1n;
const ROUND = [
  0x1n, 0x8082n, 0x800000000000808an, 0x8000000080008000n, 0x808bn, 0x80000001n, 0x8000000080008081n,
  0x8000000000008009n, 0x8an, 0x88n, 0x80008009n, 0x8000000an, 0x8000808bn, 0x800000000000008bn,
  0x8000000000008089n, 0x8000000000008003n, 0x8000000000008002n, 0x8000000000000080n, 0x800an,
  0x800000008000000an, 0x8000000080008081n, 0x8000000000008080n, 0x80000001n, 0x8000000080008008n,
];
const turn = (lane, by) => ((lane << by) | (lane >> (64n - by))) & MASK;

function permute(a) {
  for (const constant of ROUND) {
    const column = [0, 1, 2, 3, 4].map((x) => a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20]);
    for (let n = 0; n < 25; n++) a[n] ^= column[(n + 4) % 5] ^ turn(column[(n + 1) % 5], 1n);
    let [x, y, lane] = [1, 0, a[1]];
    for (let t = 0; t < 24; t++) {
      [x, y] = [y, (2 * x + 3 * y) % 5];
      [lane, a[x + 5 * y]] = [a[x + 5 * y], turn(lane, BigInt((((t + 1) * (t + 2)) / 2) % 64))];
    }
    for (let row = 0; row < 25; row += 5) {
      const r = a.slice(row, row + 5);
      for (let n = 0; n < 5; n++) a[row + n] = r[n] ^ (~r[(n + 1) % 5] & MASK & r[(n + 2) % 5]);
    }
    a[0] ^= constant;
  }
}

export function keccak256(bytes) {
  const rate = 136, padded = new Uint8Array(Math.floor(bytes.length / rate) * rate + rate);
  padded.set(bytes);
  padded[bytes.length] ^= 1;
  padded[padded.length - 1] ^= 0x80;
  const lanes = new Array(25).fill(0n), view = new DataView(padded.buffer);
  for (let at = 0; at < padded.length; at += rate) {
    for (let n = 0; n < rate / 8; n++) lanes[n] ^= view.getBigUint64(at + 8 * n, true);
    permute(lanes);
  }
  const out = new DataView(new ArrayBuffer(32));
  for (let n = 0; n < 4; n++) out.setBigUint64(8 * n, lanes[n], true);
  return new Uint8Array(out.buffer);
}

export const hex = (bytes) => "0x" + Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");

export function unhex(text, size) {
  const digits = text.trim().replace(/^0x/, "");
  if (!/^([0-9a-fA-F]{2})*$/.test(digits) || digits.length !== 2 * size) {
    throw new Error(`not ${size} bytes in hexadecimal`);
  }
  return Uint8Array.from(digits.match(/../g) || [], (two) => parseInt(two, 16));
}

const number = (bytes) => BigInt(hex(bytes));
const word = (value) => unhex(BigInt.asUintN(256, value).toString(16).padStart(64, "0"), 32);

function joined(...parts) {
  const out = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  parts.reduce((at, part) => (out.set(part, at), at + part.length), 0);
  return out;
}

// secp256k1

const P = 2n ** 256n - 2n ** 32n - 977n;
const N = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const G = [
  0x79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798n,
  0x483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8n,
];
const mod = (value, by) => ((value % by) + by) % by;

function inverse(value, by) {
  let [r, next, s, after] = [by, mod(value, by), 0n, 1n];
  while (next) {
    const q = r / next;
    [r, next, s, after] = [next, r - q * next, after, s - q * after];
  }
  return mod(s, by);
}

function add(a, b) {
  if (!a || !b) return a || b;
  if (a[0] === b[0] && mod(a[1] + b[1], P) === 0n) return null;
  const slope = a[0] === b[0] ? 3n * a[0] * a[0] * inverse(2n * a[1], P) : (b[1] - a[1]) * inverse(b[0] - a[0], P);
  const x = mod(slope * slope - a[0] - b[0], P);
  return [x, mod(slope * (a[0] - x) - a[1], P)];
}

function multiply(k) {
  let out = null;
  for (let point = G; k; k >>= 1n, point = add(point, point)) if (k & 1n) out = add(out, point);
  return out;
}

export function address(key) {
  const secret = number(key);
  if (!secret || secret >= N) throw new Error("no private key");
  const [x, y] = multiply(secret);
  return hex(keccak256(joined(word(x), word(y))).slice(12));
}

// r, then s, low, with the parity of R's y as its highest bit (EIP-2098). The nonce is the hash of key, digest
// and chance: without chance it would still be a secret that no other digest shares.
export function sign(key, digest) {
  const secret = number(key);
  for (;;) {
    const chance = crypto.getRandomValues(new Uint8Array(32));
    const k = mod(number(keccak256(joined(key, digest, chance))), N);
    if (!k) continue;
    const [x, y] = multiply(k), r = x % N;
    let s = mod(inverse(k, N) * (number(digest) + r * secret), N), parity = y & 1n;
    if (!r || !s || x >= N) continue;
    if (s > N / 2n) [s, parity] = [N - s, parity ^ 1n];
    return hex(joined(word(r), word(s | (parity << 255n))));
  }
}

// EIP-712

const COMMON = "uint32 account,uint64 generation,uint64 nonce,uint64 expiry,";
const TYPES = {
  order:
    `Order(${COMMON}uint64 clientId,uint16 instrument,uint8 side,uint8 timeInForce,uint8 selfTrade,` +
    "bool reduceOnly,int32 price,uint32 quantity)",
  cancel: `Cancel(${COMMON}uint64 clientId)`,
  cancel_all: `CancelAll(${COMMON}uint16 instrument,uint64 nonceFloor)`,
  session: "Session(uint32 account,uint64 generation,uint64 time,uint64 expiry,bytes32 gateway)",
};
const NAMES = {
  side: ["buy", "sell"],
  timeInForce: ["gtc", "ioc", "fok", "post_only"],
  selfTrade: ["cancel_newest", "cancel_oldest", "cancel_both"],
};
const text = (characters) => new TextEncoder().encode(characters);

function member(type, name, given) {
  if (type === "bytes32") return unhex(given, 32);
  const value = name in NAMES && typeof given === "string" ? NAMES[name].indexOf(given) : given ?? 0;
  if (value === -1) throw new Error(`${name}: ${given} is none of ${NAMES[name].join(", ")}`);
  return word(BigInt(value));
}

export function separator(chainId, contract) {
  const type = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
  const hashes = [type, "Hawse", "2"].map((one) => keccak256(text(one)));
  return keccak256(joined(...hashes, word(BigInt(chainId)), new Uint8Array(12), unhex(contract, 20)));
}

export function digest(domain, kind, message) {
  const type = TYPES[kind];
  const words = type.slice(type.indexOf("(") + 1, -1).split(",").map((one) => {
    const [solidity, name] = one.split(" ");
    const field = name.replace(/[A-Z]/g, (letter) => "_" + letter.toLowerCase());
    return member(solidity, name, message[field]);
  });
  const struct = keccak256(joined(keccak256(text(type)), ...words));
  return keccak256(joined(Uint8Array.of(0x19, 1), domain, struct));
}

// The message with its signature, as the gateway takes it.
export function signed(key, domain, kind, message) {
  const own = kind === "session" ? {} : { kind };
  return { ...own, ...message, signature: sign(key, digest(domain, kind, message)) };
}
