/** As many hexadecimal digits as tools show. */
const shownDigits = 12;

/** A digest as people read it; the whole is its title. */
export function ShortDigest({ digest }: { readonly digest: string }) {
  const [algorithm = '', hex = ''] = digest.split(':');
  return (
    <code class="digest" title={digest}>
      {algorithm === 'sha256' ? '' : `${algorithm}:`}
      {hex.slice(0, shownDigits)}
    </code>
  );
}
