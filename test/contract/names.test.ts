import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { Event } from '../../src/base/events.ts';
import { mediaTypes } from '../../src/oci/manifest.ts';
import { repositoryKey, type Repository } from '../../src/oci/reference.ts';
import { openNames, type Link, type Names } from '../../src/store/names.ts';
import { descriptorOf, makeBlob } from '../kit/images.ts';
import { temporaryFolder } from '../kit/temporary-folder.ts';

interface TestNames extends AsyncDisposable {
  readonly names: Names;
  readonly folder: string;
  readonly events: readonly Event[];
  /** Closes and opens it again: all that memory knew is gone. */
  reopen(between?: () => void): Promise<void>;
}

async function startNames(): Promise<TestNames> {
  const folder = await temporaryFolder();
  const events: Event[] = [];
  const open = (): Promise<Names> =>
    openNames({ folder: folder.path, observe: (event) => events.push(event) });
  let names = await open();
  return {
    get names() {
      return names;
    },
    folder: folder.path,
    events,
    reopen: async (between = () => {}) => {
      await names.close();
      between();
      names = await open();
    },
    [Symbol.asyncDispose]: async () => {
      await names.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

const app: Repository = { registry: 'docker.io', name: 'library/app' };
const other: Repository = { registry: 'ghcr.io', name: 'library/app' };
const first = descriptorOf(makeBlob('first', 10));
const second = descriptorOf(makeBlob('second', 20));

function linkOf(kind: Link['kind'], seed: string | number = 'link'): Link {
  const { bytes, digest } = makeBlob(seed, 10);
  const mediaType = kind === 'manifest' ? mediaTypes.ociManifest : 'application/octet-stream';
  return { digest, mediaType, sizeBytes: bytes.length, kind };
}

async function listOf(repositories: AsyncIterable<Repository>): Promise<string[]> {
  const names: string[] = [];
  for await (const repository of repositories) names.push(repositoryKey(repository));
  return names;
}

describe('a tag', () => {
  test('that nobody has seen is a miss', async () => {
    await using it = await startNames();

    assert.equal(await it.names.tags.find(app, 'latest'), undefined);
  });

  test('names what upstream said last, and when, after the process has ended, too', async () => {
    await using it = await startNames();
    const seen = await it.names.tags.seen(app, 'latest', first, 1_000);

    await it.reopen();

    assert.deepEqual(await it.names.tags.find(app, 'latest'), seen);
    assert.deepEqual(seen, {
      digest: first.digest,
      mediaType: first.mediaType,
      sizeBytes: 10,
      checkedMs: 1_000,
      history: [{ digest: first.digest, firstSeenMs: 1_000, lastSeenMs: 1_000 }],
    });
  });

  test('is of one repository of one registry, and of its own case', async () => {
    await using it = await startNames();
    await it.names.tags.seen(app, 'v1', first, 1_000);

    assert.equal(await it.names.tags.find(other, 'v1'), undefined);
    assert.equal(await it.names.tags.find({ ...app, name: 'library' }, 'v1'), undefined);
    assert.equal(await it.names.tags.find(app, 'V1'), undefined);
    assert.equal(await it.names.tags.find(app, 'v'), undefined);
  });

  test('has a history: one entry a stretch of time, the newest first', async () => {
    await using it = await startNames();
    const { tags } = it.names;

    await tags.seen(app, 'latest', first, 1);
    await tags.seen(app, 'latest', first, 2);
    await tags.seen(app, 'latest', second, 3);
    await tags.seen(app, 'latest', first, 4);
    const record = await tags.find(app, 'latest');

    assert.equal(record?.digest, first.digest);
    assert.equal(record.checkedMs, 4);
    assert.deepEqual(record.history, [
      { digest: first.digest, firstSeenMs: 4, lastSeenMs: 4 },
      { digest: second.digest, firstSeenMs: 3, lastSeenMs: 3 },
      { digest: first.digest, firstSeenMs: 1, lastSeenMs: 2 },
    ]);
  });

  test('is walked with the others of its repository, in the order of their names', async () => {
    await using it = await startNames();
    for (const tag of ['v2', 'V1', 'v10', 'latest']) await it.names.tags.seen(app, tag, first, 1);
    await it.names.tags.seen(other, 'elsewhere', first, 1);

    const walked: string[] = [];
    for await (const { tag, record } of it.names.tags.walk(app)) {
      walked.push(tag);
      assert.equal(record.digest, first.digest);
    }

    assert.deepEqual(walked, ['V1', 'latest', 'v10', 'v2']);
  });

  test('keeps fifty moments of it, the newest', async () => {
    await using it = await startNames();
    for (let at = 0; at < 60; at += 1) {
      await it.names.tags.seen(app, 'nightly', at % 2 === 0 ? first : second, at);
    }

    const { history = [] } = (await it.names.tags.find(app, 'nightly')) ?? {};

    assert.equal(history.length, 50);
    assert.deepEqual([history[0]?.firstSeenMs, history.at(-1)?.firstSeenMs], [59, 10]);
  });
});

describe('a link', () => {
  test('is found under its repository only, before and after a restart', async () => {
    await using it = await startNames();
    const link = linkOf('blob');
    await it.names.links.add(app, [link]);

    for (const when of ['before', 'after']) {
      if (when === 'after') await it.reopen();
      assert.deepEqual(await it.names.links.find(app, link.digest), link);
      assert.equal(await it.names.links.find(other, link.digest), undefined);
      assert.equal(await it.names.links.find(app, first.digest), undefined);
      assert.equal(await it.names.links.find({ ...app, name: 'app' }, link.digest), undefined);
    }
  });

  test('a thousand of them are added at once', async () => {
    await using it = await startNames();
    const links = Array.from({ length: 1_000 }, (_, at) => linkOf('blob', at));

    await it.names.links.add(app, links);
    await it.reopen();

    const found = await Promise.all(links.map(({ digest }) => it.names.links.find(app, digest)));
    assert.deepEqual(found, links);
  });

  test('of a manifest stays one when it is linked as a blob, too', async () => {
    await using it = await startNames();
    const manifest = linkOf('manifest');
    await it.names.links.add(app, [manifest]);

    await it.names.links.add(app, [{ ...manifest, kind: 'blob' }]);
    await it.reopen();

    assert.equal((await it.names.links.find(app, manifest.digest))?.kind, 'manifest');
  });
});

describe('repositories', () => {
  test('whose name begins another’s see nothing of it', async () => {
    await using it = await startNames();
    const longer: Repository = { registry: 'r.io', name: 'a/b' };
    await it.names.links.add(longer, [linkOf('manifest')]);
    await it.names.tags.seen(longer, 'v1', first, 1);

    const shorter: Repository = { registry: 'r.io', name: 'a' };
    assert.equal(await it.names.links.find(shorter, linkOf('manifest').digest), undefined);
    for await (const { tag } of it.names.tags.walk(shorter)) assert.fail(tag);
    assert.deepEqual(await listOf(it.names.links.repositories()), ['r.io/a/b']);
  });

  test('go from the list with the last of their tags and manifests', async () => {
    await using it = await startNames();
    const manifest = linkOf('manifest');
    await it.names.links.add(app, [manifest]);
    await it.names.tags.seen(app, 'latest', first, 1);

    await it.names.links.remove(app, manifest.digest);
    assert.deepEqual(await listOf(it.names.links.repositories()), ['docker.io/library/app']);
    await it.names.tags.remove(app, 'latest');

    assert.deepEqual(await listOf(it.names.links.repositories()), []);
    assert.equal(await it.names.links.find(app, manifest.digest), undefined);
    assert.equal(await it.names.tags.find(app, 'latest'), undefined);
  });

  test('are those of which a manifest is known, sorted, each once', async () => {
    await using it = await startNames();
    const { links } = it.names;
    for (const name of ['z', 'a/c', 'a', 'a-b', 'a/b']) {
      await links.add({ registry: 'quay.io', name }, [linkOf('manifest')]);
    }
    await links.add(app, [linkOf('manifest', 1)]);
    await links.add(app, [linkOf('manifest', 2)]);
    await links.add(other, [linkOf('blob')]);

    const sorted = [
      'docker.io/library/app',
      'quay.io/a',
      'quay.io/a-b',
      'quay.io/a/b',
      'quay.io/a/c',
      'quay.io/z',
    ];
    assert.deepEqual(await listOf(links.repositories()), sorted);
    await it.reopen();
    assert.deepEqual(await listOf(it.names.links.repositories()), sorted);
  });

  test('are all there when they are more than one step of the scan reads', async () => {
    await using it = await startNames();
    const names = Array.from({ length: 1_234 }, (_, at) => `r${String(at).padStart(5, '0')}`);
    const link = linkOf('manifest');
    for (const name of names) await it.names.links.add({ registry: 'r.io', name }, [link]);

    const listed = await listOf(it.names.links.repositories());

    assert.deepEqual(
      listed,
      names.map((name) => `r.io/${name}`),
    );
  });
});

describe('documents', () => {
  test('are what they were, by kind and key, after a restart', async () => {
    await using it = await startNames();
    const document = { tags: ['a', 'ü', '\u0000'], n: 0, nothing: null };
    await it.names.documents.put('tags', 'docker.io/library/app', document);
    await it.names.documents.put('tags', 'docker.io/library/app', { ...document, n: 1 });

    await it.reopen();

    const { documents } = it.names;
    assert.deepEqual(await documents.find('tags', 'docker.io/library/app'), { ...document, n: 1 });
    assert.equal(await documents.find('referrers', 'docker.io/library/app'), undefined);
    assert.equal(await documents.find('tags', 'docker.io/library'), undefined);
  });
});

describe('the database file', () => {
  const spoilt: [what: string, bytes: string | Buffer][] = [
    ['a text', 'this is no database, it is a text '.repeat(1_000)],
    ['random bytes', makeBlob('noise', 64 * 1024).bytes],
    ['a database header and noise', `SQLite format 3\0${'x'.repeat(20_000)}`],
  ];
  for (const [what, bytes] of spoilt) {
    test(`that became ${what} is put aside, and work goes on with a new one`, async () => {
      await using it = await startNames();
      await it.names.tags.seen(app, 'latest', first, 1);

      await it.reopen(() => {
        writeFileSync(join(it.folder, 'names.db'), bytes);
      });
      assert.equal(await it.names.tags.find(app, 'latest'), undefined);
      await it.names.tags.seen(app, 'latest', second, 2);
      await it.reopen();

      assert.equal((await it.names.tags.find(app, 'latest'))?.digest, second.digest);
      assert.ok(readdirSync(it.folder).includes('names.db.corrupt'));
      assert.ok(it.events.some(({ kind }) => kind === 'names-failed'));
    });
  }

  test('that is empty is a new one', async () => {
    await using it = await startNames();

    await it.reopen(() => {
      writeFileSync(join(it.folder, 'names.db'), '');
    });
    await it.names.tags.seen(app, 'latest', first, 1);

    assert.equal((await it.names.tags.find(app, 'latest'))?.digest, first.digest);
    assert.deepEqual(it.events, []);
  });

  test('of a process that was killed has what was written', async () => {
    await using it = await startNames();
    await it.names.tags.seen(app, 'latest', first, 1);

    // Opened a second time while the first has not closed: as the file looks after a SIGKILL.
    const survivor = await openNames({ folder: it.folder, observe: () => {} });
    const found = await survivor.tags.find(app, 'latest');
    await survivor.close();

    assert.equal(found?.digest, first.digest);
  });
});
