/** What happens to the disk and the names. */
export type StoreEvent =
  | { readonly kind: 'evicted'; readonly digest: string; readonly sizeBytes: number }
  | { readonly kind: 'store-failed'; readonly operation: string; readonly message: string }
  | {
      readonly kind: 'store-ready';
      readonly blobs: number;
      readonly sizeBytes: number;
      readonly removedPartials: number;
      readonly foreignFiles: number;
      readonly durationMs: number;
    }
  | { readonly kind: 'names-failed'; readonly operation: string; readonly message: string };
