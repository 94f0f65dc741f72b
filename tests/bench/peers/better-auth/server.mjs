// better-auth as its documentation would have it in production: people sign in by a code that is mailed
// to them, and are signed up when they are new. What it needs comes in the environment, as it does there.

import { createServer } from "node:http";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";
import { emailOTP } from "better-auth/plugins/email-otp";
import Database from "better-sqlite3";
import { createTransport } from "nodemailer";

const { DATABASE, JOURNAL_MODE, SYNCHRONOUS, PORT, SMTP_PORT } = process.env;

const database = new Database(DATABASE);
database.pragma(`journal_mode = ${JOURNAL_MODE}`);
database.pragma(`synchronous = ${SYNCHRONOUS}`);

// Connections are kept, as many of them as there are by default; more were no faster.
const mail = createTransport({
  host: "127.0.0.1",
  port: Number(SMTP_PORT),
  ignoreTLS: true,
  pool: true,
  maxMessages: Infinity,
});

// Its secret and its address are taken from the environment.
//
// One process: of several that share a SQLite file, one or the other is told that it is locked.
const auth = betterAuth({
  database,
  // Thousands of people sign in from one address here.
  rateLimit: { enabled: false },
  plugins: [
    emailOTP({
      otpLength: 8,
      expiresIn: 600,
      allowedAttempts: 5,
      // Not awaited, as its documentation recommends.
      async sendVerificationOTP({ email, otp }) {
        mail
          .sendMail({
            from: "bench@example.com",
            to: email,
            subject: `${otp} is your code`,
            text: `${otp} is your code. It is good for ten minutes.`,
          })
          .catch((error) => console.error(error));
      },
    }),
  ],
});

const { runMigrations } = await getMigrations(auth.options);
await runMigrations();

createServer(toNodeHandler(auth)).listen(Number(PORT), "127.0.0.1");
