// Sends messages by nodemailer, all at once: reads a list of them as JSON from standard
// input, and writes the server's reply to each as JSON to standard output.
import nodemailer from 'nodemailer';

let input = '';
for await (const chunk of process.stdin) input += chunk;

async function send(m) {
  const transport = nodemailer.createTransport({
    host: m.host, port: m.port, localAddress: m.from_address,
    secure: m.tls === 'implicit', ignoreTLS: m.tls === 'clear', requireTLS: m.tls === 'STARTTLS',
    tls: { ca: m.ca, servername: m.server_name },
    authMethod: m.auth || undefined, auth: m.auth ? { user: m.user, pass: m.password } : undefined,
  });
  try {
    const sent = await transport.sendMail({
      envelope: { from: m.sender, to: [m.recipient] }, from: m.sender, to: m.recipient, subject: m.subject, text: m.text,
    });
    return sent.response;
  } catch (error) {
    return String(error.response ?? error.message);
  } finally {
    transport.close();
  }
}

console.log(JSON.stringify(await Promise.all(JSON.parse(input).map(send))));
