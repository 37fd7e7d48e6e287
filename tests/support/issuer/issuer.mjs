// A certified OpenID Connect issuer for tests: `node issuer.mjs CONFIG`.
//
// CONFIG is a JSON file that oidc_issuer.py writes: url, port, generation, keys (private JWKs, the first one signs),
// cookieKeys, client (metadata), audience, lifetime (seconds), accounts ({sub: claims}). SIGHUP reads it again; what
// was issued before stays valid. The discovery document's `generation` says which configuration is in force.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';
// Kept by the module and not by a provider: grants and sessions live on when the configuration is read again.
import MemoryAdapter from 'oidc-provider/lib/adapters/memory_adapter.js';

const AUDIENCE = 'urn:audience:';
const SCOPES = 'openid email profile';

function build(config) {
  const accounts = new Map(Object.entries(config.accounts));
  const path = new URL(config.url).pathname.replace(/\/$/, '');
  const provider = new Provider(config.url, {
    adapter: MemoryAdapter,
    jwks: { keys: config.keys },
    cookies: { keys: config.cookieKeys },
    clients: [config.client],
    clientDefaults: { id_token_signed_response_alg: 'RS256' },
    discovery: { generation: config.generation },
    // Where Supabase has its keys, too.
    routes: { jwks: '/.well-known/jwks.json' },
    scopes: SCOPES.split(' '),
    claims: { openid: ['sub', 'headrace_role'], email: ['email', 'email_verified'], profile: ['name'] },
    pkce: { required: () => true },
    ttl: { AccessToken: config.lifetime, ClientCredentials: config.lifetime, IdToken: config.lifetime },
    findAccount: (_ctx, sub) => accounts.has(sub) && { accountId: sub, claims: () => ({ ...accounts.get(sub), sub }) },
    extraTokenClaims: (_ctx, token) => accounts.get(token.accountId),
    loadExistingGrant: grantAll,
    interactions: { url: (_ctx, interaction) => `${path}/interaction/${interaction.uid}` },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => AUDIENCE + config.audience,
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, resource) => resourceServer(config, resource),
      },
    },
    renderError: (ctx, out) => { ctx.type = 'json'; ctx.body = out; },
  });
  provider.on('server_error', (_ctx, error) => console.error(error));
  return { provider, accounts, path, answer: provider.callback() };
}

// Every audience that is asked for is known: what makes a token one for somebody else is up to its reader.
function resourceServer(config, resource) {
  const audience = decodeURIComponent(resource.slice(AUDIENCE.length));
  return { audience, scope: SCOPES, accessTokenFormat: 'jwt', accessTokenTTL: config.lifetime, jwt: { sign: { alg: 'RS256' } } };
}

// The client is the issuer's own, so nobody is asked for consent.
async function grantAll({ oidc }) {
  const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
  grant.addOIDCScope(SCOPES);
  Object.keys(oidc.resourceServers ?? {}).forEach((resource) => grant.addResourceScope(resource, SCOPES));
  await grant.save();
  return grant;
}

async function bodyOf(request) {
  let text = '';
  for await (const chunk of request) text += chunk;
  return new URLSearchParams(text);
}

function page(response, status, says) {
  response.writeHead(status, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
  response.end(`<!doctype html><html lang="en"><title>Sign in</title><h1>Sign in</h1><p role="alert">${says}</p>
<form method="post"><label>Account <input name="login" autofocus></label>
<button>Sign in</button> <button name="deny" value="1">Cancel</button></form></html>`);
}

async function interact({ provider, accounts }, request, response) {
  const { prompt } = await provider.interactionDetails(request, response);
  if (prompt.name === 'consent') return provider.interactionFinished(request, response, { consent: {} });
  if (request.method !== 'POST') return page(response, 200, '');
  const form = await bodyOf(request);
  if (form.has('deny')) {
    return provider.interactionFinished(request, response, { error: 'access_denied', error_description: 'cancelled' });
  }
  const accountId = form.get('login');
  if (!accounts.has(accountId)) return page(response, 401, 'There is no such account.');
  return provider.interactionFinished(request, response, { login: { accountId } });
}

function serve(issuer, request, response) {
  if (!request.url.startsWith(`${issuer.path}/`)) return response.writeHead(404).end();
  if (request.url.startsWith(`${issuer.path}/interaction/`)) {
    return interact(issuer, request, response).catch((error) => {
      console.error(error);
      response.writeHead(error.statusCode ?? 500).end();
    });
  }
  request.originalUrl = request.url;
  request.url = request.url.slice(issuer.path.length);
  return issuer.answer(request, response);
}

const read = () => JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { port } = read();
let issuer = build(read());
process.on('SIGHUP', () => { issuer = build(read()); });
createServer((request, response) => serve(issuer, request, response)).listen(port, '127.0.0.1');
