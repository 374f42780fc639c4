import { findDigest, type Digest } from '../../oci/digest.ts';

export interface PlatformChoice {
  /** `os/architecture[/variant]`; none: those of which something is here, else linux/amd64. */
  readonly platforms: readonly string[] | 'all';
  /** Also what describes the chosen images without being one. */
  readonly attestations: boolean;
  readonly has: (digest: Digest) => Promise<boolean>;
  /** What the tag named before: the platforms of which something is here then are wanted now. */
  readonly earlier?: readonly Uint8Array[];
}

const platformDefault = 'linux/amd64';

interface Entry {
  readonly digest: Digest;
  /** Undefined where the index states none. */
  readonly platform: string | undefined;
  /** The image that an attestation is about; BuildKit's annotation. */
  readonly describes: string | undefined;
}

/** The manifests of an index that are wanted, in its order. Those without a platform always are. */
export async function choosePlatforms(
  index: Uint8Array,
  { platforms, attestations, has, earlier = [] }: PlatformChoice,
): Promise<Digest[]> {
  const entries = entriesOf(index);
  const images = entries.filter(({ describes }) => describes === undefined);
  const isWanted = await wantedBy(
    platforms,
    images,
    [...images, ...earlier.flatMap(entriesOf)],
    has,
  );
  const chosen = new Set(images.filter(isWanted).map(({ digest }) => digest as string));
  return entries
    .filter(({ digest, describes }) =>
      describes === undefined ? chosen.has(digest) : attestations && chosen.has(describes),
    )
    .map(({ digest }) => digest);
}

async function wantedBy(
  platforms: PlatformChoice['platforms'],
  images: readonly Entry[],
  versions: readonly Entry[],
  has: (digest: Digest) => Promise<boolean>,
): Promise<(image: Entry) => boolean> {
  if (platforms === 'all') return () => true;
  if (platforms.length > 0) return (image) => platforms.some((wanted) => fits(image, wanted));
  // What clients have pulled of this index is what they want of it.
  const here = new Set<string>();
  for (const { digest, platform } of versions) {
    if (platform !== undefined && (await has(digest))) here.add(platform);
  }
  if (images.some(({ platform }) => platform !== undefined && here.has(platform))) {
    return ({ platform }) => platform === undefined || here.has(platform);
  }
  return (image) => fits(image, platformDefault);
}

/** A platform without a variant stands for all of them: arm64 is arm64/v8. */
function fits({ platform }: Entry, wanted: string): boolean {
  return platform === undefined || platform === wanted || platform.startsWith(`${wanted}/`);
}

function entriesOf(index: Uint8Array): Entry[] {
  const { manifests } = JSON.parse(Buffer.from(index).toString('utf8')) as { manifests?: unknown };
  const entries: Entry[] = [];
  for (const value of Array.isArray(manifests) ? (manifests as unknown[]) : []) {
    const { digest, platform, annotations } = (value ?? {}) as Record<string, unknown>;
    const found = typeof digest === 'string' ? findDigest(digest) : undefined;
    if (found === undefined) continue;
    const { os, architecture, variant } = (platform ?? {}) as Record<string, unknown>;
    const describes = ((annotations ?? {}) as Record<string, unknown>)[
      'vnd.docker.reference.digest'
    ];
    const parts = [os, architecture, variant].filter(
      (part) => typeof part === 'string' && part !== '',
    );
    entries.push({
      digest: found,
      platform: parts.length < 2 || os === 'unknown' ? undefined : parts.join('/'),
      describes: typeof describes === 'string' ? describes : undefined,
    });
  }
  return entries;
}
