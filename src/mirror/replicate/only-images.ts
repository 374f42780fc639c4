import { choosePlatforms } from '../prewarm/platforms.ts';

/** An index of the images for these platforms alone; what else it says stays. */
export async function onlyImages(index: Buffer, platforms: readonly string[]): Promise<Buffer> {
  const has = (): Promise<boolean> => Promise.resolve(false);
  const chosen = new Set<string>(
    await choosePlatforms(index, { platforms, attestations: false, has }),
  );
  const whole = JSON.parse(index.toString('utf8')) as { manifests: { digest: string }[] };
  const manifests = whole.manifests.filter(({ digest }) => chosen.has(digest));
  return Buffer.from(JSON.stringify({ ...whole, manifests }));
}
