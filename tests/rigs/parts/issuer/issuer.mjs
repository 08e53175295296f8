// A token issuer on oidc-provider with the endpoints of Entra ID. Its first line
// of input is the configuration, each later one a new token policy. It writes a
// line when it is ready, after each change, and for each request.

import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { createServer } from 'node:https';
import { createInterface } from 'node:readline';
import Provider, { errors } from 'oidc-provider';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const read = async () => JSON.parse((await lines.next()).value ?? 'null');
const write = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
// Standard output carries only these lines.
console.info = console.warn = console.error;

const config = await read();
let { policy } = config;
const server = createServer({ key: config.serverKey, cert: config.serverChain });
await new Promise((ready) => { server.listen(config.port, '127.0.0.1', ready); });
const { port } = server.address();

const jwk = (key, use) => ({ ...key.export({ format: 'jwk' }), ...use });
const clients = config.clients.map((client) => {
  if (client.certificate) {
    const { publicKey } = new X509Certificate(client.certificate);
    return {
      client_id: client.id, token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [jwk(publicKey)] },
      grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
    };
  }
  if (client.secret) {
    return {
      client_id: client.id, token_endpoint_auth_method: 'client_secret_post', client_secret: client.secret,
      grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
    };
  }
  return {
    client_id: client.id, token_endpoint_auth_method: 'none', application_type: 'native',
    grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'], redirect_uris: [], response_types: [],
  };
});

// Entra ID selects the certificate that verifies an assertion by its thumbprint.
const thumbprint = (client) => {
  const { certificate } = config.clients.find(({ id }) => id === client.clientId);
  return createHash('sha256').update(new X509Certificate(certificate).raw).digest('base64url');
};

const provider = new Provider(`https://localhost:${port}`, {
  clients,
  jwks: { keys: [jwk(createPrivateKey(config.signingKey), { kid: config.keyID, use: 'sig', alg: 'RS256' })] },
  cookies: { keys: ['for tests'] },
  routes: { token: config.tokenPath, device_authorization: config.devicePath },
  enabledJWA: { clientAuthSigningAlgValues: ['PS256', 'RS256'] },
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => policy.audience,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        audience: policy.audience, scope: config.scopes.join(' '), accessTokenFormat: 'jwt',
        accessTokenTTL: policy.statedLifetime, jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  assertJwtClientAuthClaimsAndHeader: (ctx, claims, header, client) => {
    if (header['x5t#S256'] !== thumbprint(client)) {
      throw new errors.InvalidClientAuth('the certificate is not registered');
    }
  },
  rotateRefreshToken: true,
  issueRefreshToken: (ctx, client, source) => source.scopes.has('offline_access'),
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  formats: {
    customizers: {
      jwt: (ctx, token, parts) => {
        parts.header = { typ: 'JWT' };
        parts.payload.exp = parts.payload.iat + policy.lifetime;
        parts.payload.appid = token.clientId;
        // An application's token has no mailbox claim, and Dovecot needs one.
        parts.payload.mailbox = token.accountId ?? config.mailbox;
        if (token.accountId) parts.payload.scp = token.scope;
        else parts.payload.roles = policy.roles;
      },
    },
  },
});

const { consume } = provider.RefreshToken.prototype;
provider.RefreshToken.prototype.consume = function consumed() {
  return policy.reuseRefreshTokens ? undefined : consume.call(this);
};

provider.use(async (ctx, next) => {
  await next();
  if (ctx.method !== 'POST' || ![config.tokenPath, config.devicePath].includes(ctx.path)) return;
  // Without an interval in the response, clients poll every five seconds.
  if (ctx.body.device_code) ctx.body.interval = 1;
  write({ request: { path: ctx.path, form: ctx.oidc.body ?? {}, status: ctx.status, answer: ctx.body } });
});
provider.on('server_error', (ctx, error) => console.error(error));

server.on('request', provider.callback());
write({ ready: port });
for (let next = await read(); next; next = await read()) {
  policy = next;
  write({ changed: true });
}
process.exit();
