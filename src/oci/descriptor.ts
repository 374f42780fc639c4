import type { Digest } from './digest.ts';

/** What a manifest says of another piece of content. `size` in bytes. image-spec, descriptor.md. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
}

/** How blobs are sent: what they are is the manifest's business. */
export const blobMediaType = 'application/octet-stream';
