import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Health, type Failure, type Subject } from '../../src/upstream/health.ts';
import { ManualClock } from './manual-clock.ts';

const answered: Failure = { kind: 'answered', how: 'refused', times: 1 };
const unanswered: Failure = { kind: 'unanswered', how: 'refused', times: 1 };

function tag(name: string, reference = 'latest'): Subject {
  return { name, resource: `/v2/${name}/manifests/${reference}` };
}

describe('the health of one URL', () => {
  test('one tag that is answered with 5xx is left alone, and nothing else is', () => {
    const health = new Health(new ManualClock());

    for (let times = 0; times < 20; times += 1) health.failed(tag('bad'), answered);

    assert.equal(health.admits(tag('bad')), false);
    assert.deepEqual([health.isDown, health.admits(tag('bad', '1'))], [false, true]);
    assert.equal(health.admits(tag('good')), true);
  });

  test('many tags of one repository with 5xx are no outage, those of several are', () => {
    const one = new Health(new ManualClock());
    const several = new Health(new ManualClock());

    for (let times = 0; times < 20; times += 1) {
      one.failed(tag('bad', `${times}`), answered);
      several.failed(tag(`bad-${times}`), answered);
    }

    assert.deepEqual([one.isDown, several.isDown], [false, true]);
  });

  test('two tags that stay broken are no outage when something else succeeds now and then', () => {
    const clock = new ManualClock();
    const health = new Health(clock);
    const downs = [];

    for (let seconds = 0; seconds < 60; seconds += 1) {
      for (const subject of [tag('bad'), tag('worse')]) {
        if (health.admits(subject)) health.failed(subject, answered);
      }
      clock.advance(1_000);
      if (health.admits(tag('good'))) health.succeeded(tag('good'));
      downs.push(health.isDown);
    }

    assert.ok(downs.every((isDown) => !isDown));
  });

  test('connections that fail are an outage, whatever was asked for', () => {
    const health = new Health(new ManualClock());

    for (let times = 0; times < 5; times += 1) health.failed(tag('any'), unanswered);

    assert.deepEqual([health.isDown, health.admits(tag('other'))], [true, false]);
  });

  test('one answer that does not come in time is an outage, a slow 5xx is one of its tag', () => {
    const silent = new Health(new ManualClock());
    const slow = new Health(new ManualClock());

    silent.failed(tag('bad'), { ...unanswered, how: 'timeout' });
    slow.failed(tag('bad'), { ...answered, how: 'timeout' });

    assert.equal(silent.admits(tag('good')), false);
    assert.deepEqual([slow.admits(tag('bad')), slow.admits(tag('good'))], [false, true]);
  });

  test('during an outage the probe of a broken tag proves nothing new, and the next may try', () => {
    const clock = new ManualClock();
    const health = new Health(clock);
    health.failed(tag('bad'), { ...answered, how: 'timeout' });
    health.failed(tag('any'), { ...unanswered, how: 'timeout' });
    clock.advance(1_000);

    assert.equal(health.admits(tag('bad')), true);
    health.failed(tag('bad'), answered);
    clock.advance(15_000);

    assert.equal(health.admits(tag('good')), true);
    assert.equal(health.succeeded(tag('good')), true);
    assert.equal(health.isDown, false);
  });

  test('what was sent wrong is known for ten minutes, from the last time on', () => {
    const clock = new ManualClock();
    const health = new Health(clock);
    health.distrust(tag('bad'));
    clock.advance(1);
    health.distrust(tag('bad'));

    const soon = [health.wrongMs(tag('bad')), health.wrongMs(tag('good'))];
    clock.advance(10 * 60_000 - 1);
    const later = health.wrongMs(tag('bad'));
    clock.advance(1);

    assert.deepEqual([soon, later, health.wrongMs(tag('bad'))], [[1, -1], 1, -1]);
  });

  test('what failed and is well again begins from nothing', () => {
    const health = new Health(new ManualClock());
    for (let times = 0; times < 4; times += 1) health.failed(tag('bad'), answered);

    health.succeeded(tag('bad'));
    health.failed(tag('bad'), answered);

    assert.equal(health.admits(tag('bad')), true);
  });
});
