import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { realmPolicy } from '../../src/upstream/realm.ts';

type Case = readonly [upstream: string, realm: string, authHosts?: readonly string[]];

function isAllowed([upstream, realm, authHosts = []]: Case): boolean {
  return realmPolicy(new URL(upstream), authHosts)(new URL(realm));
}

describe('a token may be fetched', () => {
  const allowed: Case[] = [
    ['https://registry-1.docker.io', 'https://auth.docker.io/token'],
    ['https://index.docker.io', 'https://auth.docker.io/token'],
    ['https://ghcr.io', 'https://ghcr.io/token'],
    ['https://ghcr.io', 'https://ghcr.io:8443/token'],
    ['https://registry.gitlab.com', 'https://gitlab.com/jwt/auth'],
    ['https://registry.example.co.uk', 'https://auth.example.co.uk/token'],
    ['https://registry.example.com', 'https://login.other.net/t', ['login.other.net']],
    ['https://registry.example.com', 'https://login.other.net:9000/t', ['login.other.net:9000']],
    ['https://registry.example.com', 'https://login.other.net/t', ['Login.Other.NET']],
    ['http://registry.lan:5000', 'http://registry.lan:5001/token'],
    ['http://registry.lan:5000', 'https://registry.lan/token'],
    ['http://127.0.0.1:5000', 'http://localhost:6000/token'],
    ['http://[::1]:5000', 'http://127.0.0.1:6000/token'],
    ['https://10.0.0.5', 'https://10.0.0.5/token'],
    ['https://registry', 'https://registry/token'],
  ];
  for (const [upstream, realm, authHosts] of allowed) {
    test(`for ${upstream} at ${realm}${authHosts === undefined ? '' : ', as the operator says'}`, () => {
      assert.equal(isAllowed([upstream, realm, authHosts ?? []]), true);
    });
  }
});

describe('a token is never fetched', () => {
  const refused: [why: string, ...Case][] = [
    ['from a foreign host', 'https://ghcr.io', 'https://evil.example/token'],
    ['from a host that only ends alike', 'https://ghcr.io', 'https://evilghcr.io/token'],
    ['from a host that only begins alike', 'https://ghcr.io', 'https://ghcr.io.evil.example/token'],
    ['without TLS when upstream has it', 'https://ghcr.io', 'http://ghcr.io/token'],
    ['without TLS from a named host', 'https://a.io', 'http://login.net/t', ['login.net']],
    ['from a file', 'https://ghcr.io', 'file:///etc/passwd'],
    ['over ftp', 'http://ghcr.io', 'ftp://ghcr.io/token'],
    ['with a user in the URL', 'https://ghcr.io', 'https://user@ghcr.io/token'],
    ['with a password in the URL', 'https://ghcr.io', 'https://:secret@ghcr.io/token'],
    ['with a host that looks like a user', 'https://ghcr.io', 'https://ghcr.io@evil.example/token'],
    ['from another customer of co.uk', 'https://registry.a.co.uk', 'https://auth.b.co.uk/t'],
    ['from co.uk itself', 'https://registry.a.co.uk', 'https://co.uk/t'],
    ['from another customer of com.cn', 'https://a.com.cn', 'https://b.com.cn/t'],
    ['from another page of github.io', 'https://a.github.io', 'https://b.github.io/t'],
    ['from another bucket', 'https://a.s3.amazonaws.com', 'https://b.amazonaws.com/t'],
    ['from a sibling of a single label', 'https://registry', 'https://internal/t'],
    ['from another address', 'https://10.0.0.5', 'https://10.1.0.5/token'],
    ['from the metadata service', 'https://10.0.169.254', 'https://169.254.169.254/latest'],
    ['from another address in brackets', 'https://[fd00::1]', 'https://[fd00::2]/t'],
    ['from loopback for a remote upstream', 'http://registry.lan', 'http://127.0.0.1:2375/t'],
    ['from elsewhere for a loopback upstream', 'http://127.0.0.1:5000', 'http://10.0.0.1/t'],
    [
      'from a host under loopback’s name',
      'http://localhost:5000',
      'http://localhost.evil.example/',
    ],
    ['from all of com by a trailing dot', 'https://a.com.', 'https://b.com./t'],
    ['from Docker’s server for others', 'https://ghcr.io', 'https://auth.docker.io/token'],
    ['from another port of a named one', 'https://a.io', 'https://l.net:1/t', ['l.net:9000']],
  ];
  for (const [why, ...fetched] of refused) {
    test(`${why}: ${fetched[1]} for ${fetched[0]}`, () => {
      assert.equal(isAllowed(fetched), false);
    });
  }
});
