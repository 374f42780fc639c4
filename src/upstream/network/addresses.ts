import { BlockList, isIP } from 'node:net';

/** What is nobody's on the internet: RFC 6890 and the registries that it began, and their successors. */
const reserved: readonly (readonly [address: string, prefix: number, family: 'ipv4' | 'ipv6'])[] = [
  ['0.0.0.0', 8, 'ipv4'],
  ['100.64.0.0', 10, 'ipv4'],
  ['127.0.0.0', 8, 'ipv4'],
  // Cloud machines give out their credentials at 169.254.169.254.
  ['169.254.0.0', 16, 'ipv4'],
  ['192.0.0.0', 24, 'ipv4'],
  ['192.0.2.0', 24, 'ipv4'],
  ['198.18.0.0', 15, 'ipv4'],
  ['198.51.100.0', 24, 'ipv4'],
  ['203.0.113.0', 24, 'ipv4'],
  ['224.0.0.0', 4, 'ipv4'],
  ['240.0.0.0', 4, 'ipv4'],
  ['::', 127, 'ipv6'],
  ['64:ff9b:1::', 48, 'ipv6'],
  ['100::', 64, 'ipv6'],
  ['2001:db8::', 32, 'ipv6'],
  ['fe80::', 10, 'ipv6'],
  ['fec0::', 10, 'ipv6'],
  ['ff00::', 8, 'ipv6'],
];

/** Networks of a site's own: RFC 1918 and RFC 4193. */
const privateNetworks = [
  ['10.0.0.0', 8, 'ipv4'],
  ['172.16.0.0', 12, 'ipv4'],
  ['192.168.0.0', 16, 'ipv4'],
  ['fc00::', 7, 'ipv6'],
] as const;

export type AddressKind = 'public' | 'private' | 'reserved';

/** Sorts addresses by who may be behind them. */
export class Addresses {
  readonly #reserved = listOf(reserved);
  readonly #private = listOf(privateNetworks);

  /** @param address an IPv4 or IPv6 address, without brackets; anything else is `reserved` */
  kindOf(address: string): AddressKind {
    const version = isIP(address);
    if (version === 0) return 'reserved';
    // BlockList knows IPv4 inside IPv6 (::ffff:127.0.0.1); the two other forms are taken apart here.
    const inner = version === 6 ? innerAddressOf(address) : undefined;
    if (inner !== undefined) return this.kindOf(inner);
    const family = version === 4 ? 'ipv4' : 'ipv6';
    if (this.#reserved.check(address, family)) return 'reserved';
    return this.#private.check(address, family) ? 'private' : 'public';
  }
}

/** Top-level names that no registrar sells: RFC 6761, 6762 and 8375, and `.internal` by ICANN. */
const privateSuffix = /(?:^|\.)(?:localhost|local|internal|home\.arpa)$/;

/**
 * Whether a name can only lead into a private network: one without a dot, or below what is reserved for
 * that, such as the cloud's `metadata.google.internal`.
 */
export function isPrivateName(host: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, '');
  return isIP(name) === 0 && (!name.includes('.') || privateSuffix.test(name));
}

function listOf(networks: typeof reserved): BlockList {
  const list = new BlockList();
  for (const [address, prefix, family] of networks) list.addSubnet(address, prefix, family);
  return list;
}

/** The IPv4 address that an address of NAT64 (RFC 6052) or 6to4 (RFC 3056) leads to. */
function innerAddressOf(address: string): string | undefined {
  const groups = groupsOf(address);
  if (groups === undefined) return undefined;
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  const isNat64 =
    groups[0] === 0x64 && groups[1] === 0xff9b && groups.slice(2, 6).every((group) => group === 0);
  if (isMapped || isNat64) return dotted(groups[6] ?? 0, groups[7] ?? 0);
  return groups[0] === 0x2002 ? dotted(groups[1] ?? 0, groups[2] ?? 0) : undefined;
}

function dotted(high: number, low: number): string {
  return [high >> 8, high & 0xff, low >> 8, low & 0xff].join('.');
}

/** The eight groups of an IPv6 address, as the URL parser normalises them. */
function groupsOf(address: string): number[] | undefined {
  const host = `http://[${address.split('%', 1)[0]}]/`;
  if (!URL.canParse(host)) return undefined;
  const [head = '', tail] = new URL(host).hostname.slice(1, -1).split('::');
  const parse = (text: string): number[] =>
    text === '' ? [] : text.split(':').map((group) => parseInt(group, 16));
  const before = parse(head);
  const after = tail === undefined ? [] : parse(tail);
  return [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
}
