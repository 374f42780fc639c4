import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { isMirrorError } from '../../src/oci/errors.ts';
import {
  isForeign,
  manifestAccept,
  manifestSizeBytesMax,
  mediaTypes,
  parseManifest,
  type Manifest,
} from '../../src/oci/manifest.ts';
import { makeBlob, makeImage, makeIndex, descriptorOf } from '../kit/images.ts';

const { ociIndex, ociManifest, dockerList, dockerManifest, ociArtifact } = mediaTypes;
const layer = descriptorOf(makeBlob('layer', 10));
const config = descriptorOf(makeBlob('config', 5));

function parse(document: unknown, contentType?: string): Manifest {
  return parseManifest(Buffer.from(JSON.stringify(document)), contentType);
}

const orasArtifact = 'application/vnd.cncf.oras.artifact.manifest.v1+json';
const ownType = 'application/vnd.example.thing.v1+json';

describe('what a manifest is, is in its content', () => {
  const image = { schemaVersion: 2, config, layers: [layer] };
  const index = { schemaVersion: 2, manifests: [layer] };
  const cases: [what: string, document: object, header: string | undefined, mediaType: string][] = [
    ['an image without a type', image, undefined, ociManifest],
    ['an image that is called text/plain', image, 'text/plain; charset=utf-8', ociManifest],
    ['an image that the header calls an index', image, ociIndex, ociManifest],
    ['an untyped image with a Docker header', image, dockerManifest, dockerManifest],
    ['a Docker header with a parameter', image, `${dockerManifest}; charset=utf-8`, dockerManifest],
    ['a header in upper case', image, dockerManifest.toUpperCase(), dockerManifest],
    ['a typed image', { ...image, mediaType: dockerManifest }, ociManifest, dockerManifest],
    ['an image without layers', { schemaVersion: 2, config }, undefined, ociManifest],
    ['an index without a type', index, undefined, ociIndex],
    ['an index that the header calls an image', index, ociManifest, ociIndex],
    ['an untyped index with a Docker header', index, dockerList, dockerList],
    ['a typed index', { ...index, mediaType: dockerList }, ociIndex, dockerList],
    ['an empty index', { schemaVersion: 2, manifests: [] }, undefined, ociIndex],
    ['a typed artifact', { mediaType: ociArtifact, blobs: [layer] }, undefined, ociArtifact],
    ['an untyped artifact', { blobs: [layer] }, ociArtifact, ociArtifact],
    ['an index whose list is null', { schemaVersion: 2, manifests: null }, undefined, ociIndex],
    ['an artifact of ORAS', { mediaType: orasArtifact, blobs: [layer] }, undefined, orasArtifact],
    ['one of a type of its own', { ...image, mediaType: ownType }, ociManifest, ownType],
    ['one whose own type the header says', { schemaVersion: 2, data: 1 }, ownType, ownType],
  ];
  for (const [what, document, header, mediaType] of cases) {
    test(`${what}: ${mediaType}`, () => {
      assert.equal(parse(document, header).mediaType, mediaType);
    });
  }

  test('an image names its config, then its layers, and its subject', () => {
    const manifest = parse({ ...image, subject: layer });

    assert.equal(manifest.kind, 'image');
    assert.deepEqual(manifest.blobs, [config, layer]);
    assert.deepEqual(manifest.manifests, []);
    assert.deepEqual(manifest.subject, layer);
  });

  test('one of a type of its own names what its usual fields name', () => {
    const manifest = parse({ ...image, blobs: [layer, null], mediaType: ownType });

    assert.equal(manifest.kind, 'artifact');
    assert.deepEqual(manifest.blobs, [config, layer, layer]);
    assert.deepEqual(manifest.manifests, []);
  });

  test('what is named by an algorithm that is not known here is left out', () => {
    const foreign = { ...layer, digest: `blake3:${'a'.repeat(64)}` };
    const unfit = { ...layer, digest: `sha384:${'a'.repeat(96)}` };

    assert.deepEqual(parse({ ...image, layers: [unfit, layer] }).blobs, [config, layer]);
    assert.deepEqual(parse({ manifests: [layer, foreign] }).manifests, [layer]);
  });

  test('an index names manifests and no blobs', () => {
    const manifest = parse({ ...index, annotations: { a: 'b' } });

    assert.equal(manifest.kind, 'index');
    assert.deepEqual(manifest.manifests, [layer]);
    assert.deepEqual(manifest.blobs, []);
  });

  test('images and indexes as real tools write them are read', () => {
    const images = [
      makeImage({ seed: 1, layers: [10, 20] }),
      makeImage({ seed: 2, layers: [], docker: true }),
    ];
    for (const { manifest, config, layers } of images) {
      assert.deepEqual(
        parseManifest(manifest.bytes, undefined).blobs,
        [config, ...layers].map((piece) => descriptorOf(piece)),
      );
    }
    const { manifest } = makeIndex(images);
    assert.equal(parseManifest(manifest.bytes, undefined).manifests.length, 2);
  });
});

describe('what is refused, as upstream’s fault', () => {
  const tooMany = Array.from({ length: 20_001 }, () => ({ ...layer, mediaType: '' }));
  const cases: [what: string, document: unknown, header?: string][] = [
    ['layers and manifests (CVE-2021-41190)', { config, layers: [layer], manifests: [layer] }],
    ['config and manifests (CVE-2021-41190)', { config, manifests: [] }],
    ['an index typed as an image (CVE-2021-41190)', { mediaType: ociManifest, manifests: [layer] }],
    ['an image typed as an index (CVE-2021-41190)', { mediaType: ociIndex, config, layers: [] }],
    ['an image typed as a Docker list', { mediaType: dockerList, config, layers: [] }],
    ['an image of an unknown type', { mediaType: 'text/html', config, layers: [] }],
    ['schema 1 by its version', { schemaVersion: 1, config, layers: [layer] }],
    ['schema 1 by its fields', { schemaVersion: 2, fsLayers: [], config, layers: [] }],
    ['an empty object', {}],
    ['a list', [config]],
    ['a number', 4],
    ['null', null],
    ['an image without config', { layers: [layer] }],
    ['a config that is a text', { config: 'x', layers: [] }],
    ['layers that are no list', { config, layers: {} }],
    ['a layer with a bad digest', { config, layers: [{ ...layer, digest: 'sha256:../../x' }] }],
    ['a layer with a negative size', { config, layers: [{ ...layer, size: -1 }] }],
    ['a layer with half a byte', { config, layers: [{ ...layer, size: 0.5 }] }],
    ['a layer of more bytes than there are', { config, layers: [{ ...layer, size: 2 ** 60 }] }],
    ['a layer whose size is a text', { config, layers: [{ ...layer, size: '10' }] }],
    ['a null among the manifests', { manifests: [null] }],
    ['more descriptors than anybody has', { manifests: tooMany }],
  ];
  for (const [what, document, header] of cases) {
    test(what, () => {
      assert.throws(() => parse(document, header), { code: 'UPSTREAM_INVALID' });
    });
  }

  const texts: [what: string, bytes: Buffer][] = [
    ['nothing', Buffer.alloc(0)],
    ['a web page', Buffer.from('<html>')],
    ['half of a manifest', Buffer.from('{"schemaVersion":2,"config":{')],
    ['bytes that are no UTF-8', Buffer.from([0x7b, 0xff, 0xfe, 0x7d])],
    ['a million open lists', Buffer.from('['.repeat(1_000_000))],
    ['as many closed', Buffer.from(`${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}`)],
    ['deep objects', Buffer.from(`${'{"config":'.repeat(100_000)}1${'}'.repeat(100_000)}`)],
    ['the largest manifest, of blanks', Buffer.alloc(manifestSizeBytesMax, 0x20)],
  ];
  for (const [what, bytes] of texts) {
    test(what, () => {
      assert.throws(() => parseManifest(bytes, ociManifest), { code: 'UPSTREAM_INVALID' });
    });
  }

  test('__proto__ in a manifest is only a field', () => {
    const text = `{"__proto__":{"manifests":[]},"config":${JSON.stringify(config)},"layers":[]}`;

    assert.equal(parseManifest(Buffer.from(text), undefined).kind, 'image');
    assert.equal(Object.hasOwn(Object.prototype, 'manifests'), false);
  });

  test('any JSON is a manifest or a MirrorError, and nothing else', () => {
    const key = fc.constantFrom('config', 'layers', 'manifests', 'mediaType', 'blobs', 'subject');
    const value = fc.oneof(fc.jsonValue(), fc.constant([layer]), fc.constant(config));
    fc.assert(
      fc.property(
        fc.dictionary(key, value),
        fc.constantFrom(...Object.values(mediaTypes)),
        (document, header) => {
          try {
            const { kind, mediaType, blobs, manifests } = parse(document, header);
            const isIndex = mediaType === ociIndex || mediaType === dockerList;
            assert.equal(kind === 'index', isIndex);
            assert.ok(blobs.length === 0 || manifests.length === 0);
          } catch (error) {
            assert.ok(isMirrorError(error, 'UPSTREAM_INVALID'));
          }
        },
      ),
    );
  });
});

test('upstream is asked for every type but schema 1, so that none is converted for us', () => {
  for (const mediaType of Object.values(mediaTypes)) assert.ok(manifestAccept.includes(mediaType));
  assert.ok(!manifestAccept.includes('manifest.v1+prettyjws'));
  assert.ok(!manifestAccept.includes('docker.distribution.manifest.v1'));
});

test('layers of foreign and non-distributable types are known as such', () => {
  const foreign = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';
  const restricted = 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip';

  assert.equal(isForeign({ ...layer, mediaType: foreign }), true);
  assert.equal(isForeign({ ...layer, mediaType: restricted }), true);
  assert.equal(isForeign(layer), false);
});
