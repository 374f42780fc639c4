import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fieldsWithoutSecrets, withoutSecrets } from '../../src/base/secrets.ts';
import { createLog, logObserver } from '../../src/telemetry/log.ts';
import { prettyStream } from '../../src/telemetry/pretty.ts';

describe('secrets', () => {
  const texts: [text: string, shown: string][] = [
    ['nothing to hide', 'nothing to hide'],
    [
      'GET https://cdn.example/blob?X-Amz-Signature=abc&x=1 failed',
      'GET https://cdn.example/blob?… failed',
    ],
    [
      'proxy http://me:hunter2@proxy.example:3128 refused',
      'proxy http://proxy.example:3128 refused',
    ],
    ['authorization: Bearer abc.def-ghi', 'authorization: Bearer …'],
    ['Basic bWU6aHVudGVyMg== and more', 'Basic … and more'],
    [
      'Bearer realm="https://auth.example/token",service="x"',
      'Bearer realm="https://auth.example/token",service="x"',
    ],
    [
      '"https://a.example/v2/?ns=b" and https://c@d.example',
      '"https://a.example/v2/?…" and https://d.example',
    ],
  ];
  for (const [text, shown] of texts) {
    test(text, () => assert.equal(withoutSecrets(text), shown));
  }

  test('a value without secrets is passed on as it is', () => {
    const event = { kind: 'request', reference: 'latest', sentBytes: 7 };

    assert.equal(fieldsWithoutSecrets(event), event);
    assert.deepEqual(fieldsWithoutSecrets({ url: 'http://a/b?c=d', status: 200 }), {
      url: 'http://a/b?…',
      status: 200,
    });
  });
});

describe('the log', () => {
  test('of an error it takes name, message, code and stack, with those of its causes, and nothing else', () => {
    const lines: string[] = [];
    const observe = logObserver(createLog('info', { write: (line) => lines.push(line) }));
    const cause = Object.assign(new Error('GET https://a.example/b?sig=s3cret'), {
      headers: { authorization: 'Bearer s3cret' },
      code: 'ECONNRESET',
    });

    observe({
      kind: 'bug',
      where: 'test',
      error: Object.assign(new Error('it broke', { cause }), { options: { password: 's3cret' } }),
    });

    const { err } = JSON.parse(lines[0] ?? '') as {
      err: { message: string; cause: { code: string; message: string } };
    };
    assert.equal(lines.join('').includes('s3cret'), false);
    assert.equal(err.message, 'it broke');
    assert.deepEqual(
      [err.cause.code, err.cause.message],
      ['ECONNRESET', 'GET https://a.example/b?…'],
    );
  });

  test('on a terminal a line says when, how grave, what, and its facts', () => {
    const shown: string[] = [];
    const stream = prettyStream((text) => shown.push(text), false);
    const log = createLog('info', stream);

    log.warn({ setting: 'log.level', sizeBytes: 1_048_576, note: 'two words' }, 'something');

    assert.match(
      shown[0] ?? '',
      /^\d\d:\d\d:\d\d WARN {2}something {2}setting=log\.level {2}sizeBytes=1(?:\.0)? MiB {2}note="two words"\n$/,
    );
  });
});
