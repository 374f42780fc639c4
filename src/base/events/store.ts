/** What happens to the disk and the names. */
export type StoreEvent =
  | { readonly kind: 'evicted'; readonly digest: string; readonly sizeBytes: number }
  /** A stored file was not what was committed; it is in the quarantine. */
  | { readonly kind: 'content-corrupt'; readonly digest: string; readonly message: string }
  | { readonly kind: 'store-failed'; readonly operation: string; readonly message: string }
  | {
      readonly kind: 'store-ready';
      readonly blobs: number;
      readonly sizeBytes: number;
      readonly removedPartials: number;
      /** Downloads that a killed process left, and that go on when they are asked for. */
      readonly resumablePartials: number;
      /** Files and links in the folder that are not ours; they stay. */
      readonly foreignFiles: number;
      /** The first few of them, relative to the folder of blobs. */
      readonly foreign: readonly string[];
      readonly durationMs: number;
    }
  | { readonly kind: 'names-failed'; readonly operation: string; readonly message: string };
