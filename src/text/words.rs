//! Every sentence, in every language, side by side.
//!
//! Short, because each reply costs the business money and the person time; plain, because it is
//! read on a phone by somebody who wanted something else. A sentence that lacks a language does
//! not compile. `{placeholders}` are filled in when a sentence is said.

use crate::domain::language::Language;

macro_rules! sentences {
    ($($(#[$doc:meta])* $key:ident = $name:literal [$($placeholder:literal),*] {
        es: $es:literal, en: $en:literal, pt: $pt:literal $(,)?
    })*) => {
        /// One sentence, whatever the language.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Key { $($(#[$doc])* $key,)* }

        impl Key {
            /// Every sentence, in the order of the documentation.
            pub const ALL: &'static [Key] = &[$(Key::$key,)*];

            /// The name under which the configuration overrides it.
            pub fn name(self) -> &'static str {
                match self { $(Key::$key => $name,)* }
            }

            /// What is filled in, without the braces.
            pub fn placeholders(self) -> &'static [&'static str] {
                match self { $(Key::$key => &[$($placeholder),*],)* }
            }

            /// The built-in words.
            pub fn words(self, language: Language) -> &'static str {
                match (self, language) {
                    $((Key::$key, Language::Spanish) => $es,
                      (Key::$key, Language::English) => $en,
                      (Key::$key, Language::Portuguese) => $pt,)*
                }
            }
        }
    };
}

sentences! {
    /// The first answer to somebody unknown.
    Welcome = "welcome" ["business", "services"] {
        es: "Hola, aquí {business}. Para ayudarte necesito saber quién eres: escríbeme el correo que usas en {services} y te envío un código.",
        en: "Hello, this is {business}. To help you I need to know who you are: send me the email address you use with {services} and I will send you a code.",
        pt: "Olá, aqui é {business}. Para ajudar, preciso saber quem é você: escreva o e-mail que você usa em {services} e eu envio um código.",
    }
    /// After an identity change, before asking again.
    AgainChanged = "again_changed" ["business", "services"] {
        es: "Tu WhatsApp parece haberse instalado de nuevo o haber cambiado de número. Por tu seguridad cerré la sesión. Para entrar otra vez, escríbeme el correo que usas en {services}.",
        en: "Your WhatsApp seems to have been set up again or to have changed its number. To keep you safe I signed you out. To sign in again, send me the email address you use with {services}.",
        pt: "Seu WhatsApp parece ter sido instalado de novo ou mudado de número. Por segurança, encerrei a sessão. Para entrar outra vez, escreva o e-mail que você usa em {services}.",
    }
    /// After a long rest, before asking again.
    AgainExpired = "again_expired" ["business", "services"] {
        es: "Hace tiempo que entraste y tu sesión terminó. Para entrar otra vez, escríbeme el correo que usas en {services}.",
        en: "It has been a while since you signed in, and your session has ended. To sign in again, send me the email address you use with {services}.",
        pt: "Faz tempo que você entrou e sua sessão terminou. Para entrar outra vez, escreva o e-mail que você usa em {services}.",
    }
    /// After *other address*.
    AskAddress = "ask_address" ["services"] {
        es: "De acuerdo. ¿Qué correo usas en {services}?",
        en: "All right. Which email address do you use with {services}?",
        pt: "Certo. Qual é o e-mail que você usa em {services}?",
    }
    /// Instead of an address came something else.
    AddressNotUnderstood = "address_not_understood" ["services"] {
        es: "No encuentro un correo en tu mensaje. Escríbelo así: nombre@ejemplo.com. Debe ser el que usas en {services}.",
        en: "I cannot find an email address in your message. Write it like this: name@example.com. It must be the one you use with {services}.",
        pt: "Não encontrei um e-mail na sua mensagem. Escreva assim: nome@exemplo.com. Deve ser o que você usa em {services}.",
    }
    /// More than one address in one message.
    OneAddressOnly = "one_address_only" [] {
        es: "Veo más de un correo. Escríbeme solo uno, por favor.",
        en: "I see more than one email address. Please send just one.",
        pt: "Vejo mais de um e-mail. Escreva só um, por favor.",
    }
    /// The address may contain a slip.
    DidYouMean = "did_you_mean" ["typed", "suggested"] {
        es: "Escribiste {typed}. ¿Quisiste decir {suggested}?",
        en: "You wrote {typed}. Did you mean {suggested}?",
        pt: "Você escreveu {typed}. Quis dizer {suggested}?",
    }
    /// The neutral answer to every address.
    CodeOnItsWay = "code_on_its_way" ["address", "digits", "minutes"] {
        es: "Si {address} está registrado, un código de {digits} cifras va en camino a ese correo. Escríbelo aquí en los próximos {minutes} minutos. Si no llega, mira en el correo no deseado.",
        en: "If {address} is registered, a code of {digits} digits is on its way to that address. Type it here within {minutes} minutes. If it does not arrive, look in your spam folder.",
        pt: "Se {address} estiver registrado, um código de {digits} dígitos está a caminho desse e-mail. Escreva-o aqui em até {minutes} minutos. Se não chegar, veja na caixa de spam.",
    }
    /// A wrong code, with tries left.
    CodeWrong = "code_wrong" ["left"] {
        es: "Ese no es el código. Puedes intentarlo {left}.",
        en: "That is not the code. You can try {left}.",
        pt: "Esse não é o código. Você pode tentar {left}.",
    }
    /// A wrong code, and none left.
    CodeDead = "code_dead" [] {
        es: "Ese no es el código, y ya no quedan intentos. Toca «Reenviar código» para recibir otro.",
        en: "That is not the code, and there are no tries left. Tap “Resend code” to get another one.",
        pt: "Esse não é o código, e não há mais tentativas. Toque em “Reenviar código” para receber outro.",
    }
    /// The time for the code is over.
    CodeExpired = "code_expired" ["minutes"] {
        es: "Ese código ya venció: vale {minutes} minutos. Toca «Reenviar código» para recibir otro.",
        en: "That code has expired: it is good for {minutes} minutes. Tap “Resend code” to get another one.",
        pt: "Esse código já venceu: vale {minutes} minutos. Toque em “Reenviar código” para receber outro.",
    }
    /// Digits, but too few or too many.
    CodeLength = "code_length" ["digits"] {
        es: "El código tiene {digits} cifras. Cópialo del correo tal como está.",
        en: "The code has {digits} digits. Copy it from the email as it is.",
        pt: "O código tem {digits} dígitos. Copie-o do e-mail como está.",
    }
    /// A reminder.
    TypeTheCode = "type_the_code" ["digits"] {
        es: "Estoy esperando el código de {digits} cifras que llega por correo. Escríbelo aquí, o elige:",
        en: "I am waiting for the code of {digits} digits that comes by email. Type it here, or choose:",
        pt: "Estou esperando o código de {digits} dígitos que chega por e-mail. Escreva-o aqui, ou escolha:",
    }
    /// Another code too soon.
    WaitForNextCode = "wait_for_next_code" ["wait"] {
        es: "Hace un momento pediste un código. Espera un poco; podrás pedir otro en {wait}.",
        en: "You asked for a code a moment ago. Give it a little time; you can ask for another in {wait}.",
        pt: "Você acabou de pedir um código. Espere um pouco; poderá pedir outro em {wait}.",
    }
    /// Too many codes in this chat.
    TooManyCodes = "too_many_codes" ["wait"] {
        es: "Ya pediste muchos códigos. Podrás pedir otro en {wait}.",
        en: "You have asked for many codes. You can ask for another in {wait}.",
        pt: "Você já pediu muitos códigos. Poderá pedir outro em {wait}.",
    }
    /// Too many wrong codes.
    TooManyFailures = "too_many_failures" ["wait"] {
        es: "Hubo demasiados códigos equivocados. Por seguridad, inténtalo otra vez en {wait}.",
        en: "There were too many wrong codes. To be safe, try again in {wait}.",
        pt: "Houve códigos errados demais. Por segurança, tente de novo em {wait}.",
    }
    /// The limit over everybody was reached.
    SignInPaused = "sign_in_paused" [] {
        es: "En este momento no puedo verificar a nadie. Inténtalo más tarde, por favor.",
        en: "I cannot verify anybody at the moment. Please try again later.",
        pt: "Neste momento não consigo verificar ninguém. Tente mais tarde, por favor.",
    }
    /// A forwarded message.
    NotForwarded = "not_forwarded" [] {
        es: "Ese mensaje fue reenviado y no puedo aceptarlo. Escribe tú los datos. Si otra persona te mandó un código, no lo uses: alguien intenta entrar con tu ayuda.",
        en: "That message was forwarded and I cannot accept it. Please type it yourself. If somebody else sent you a code, do not use it: they are trying to get in with your help.",
        pt: "Essa mensagem foi encaminhada e não posso aceitá-la. Escreva você mesmo. Se outra pessoa enviou um código, não o use: alguém está tentando entrar com a sua ajuda.",
    }
    /// A picture, voice message, place …
    TextOnly = "text_only" [] {
        es: "Para esto solo puedo leer texto escrito. ¿Me lo escribes?",
        en: "For this I can only read typed text. Could you type it?",
        pt: "Para isto só consigo ler texto escrito. Pode escrever?",
    }
    /// The message took too long.
    TooLate = "too_late" [] {
        es: "Tu mensaje me llegó con mucho retraso y ya no sirve para entrar. Escríbelo otra vez, por favor.",
        en: "Your message reached me very late and can no longer be used to sign in. Please write it again.",
        pt: "Sua mensagem chegou com muito atraso e já não serve para entrar. Escreva de novo, por favor.",
    }
    /// A button of an earlier question.
    OldButton = "old_button" [] {
        es: "Ese botón es de una pregunta anterior. Responde al último mensaje, por favor.",
        en: "That button belongs to an earlier question. Please answer the last message.",
        pt: "Esse botão é de uma pergunta anterior. Responda à última mensagem, por favor.",
    }
    /// After *cancel*.
    Cancelled = "cancelled" [] {
        es: "Listo, lo dejamos aquí. Escríbeme cuando quieras.",
        en: "All right, we leave it here. Write to me whenever you like.",
        pt: "Pronto, paramos por aqui. Escreva quando quiser.",
    }
    /// The proof succeeded.
    SignedIn = "signed_in" ["accounts"] {
        es: "Listo, entraste como {accounts}. Para salir, escribe «cerrar sesión».",
        en: "Done, you are signed in as {accounts}. To sign out, write “log out”.",
        pt: "Pronto, você entrou como {accounts}. Para sair, escreva “sair”.",
    }
    /// The answer to *who am I*.
    WhoYouAre = "who_you_are" ["accounts"] {
        es: "Entraste como {accounts}.",
        en: "You are signed in as {accounts}.",
        pt: "Você entrou como {accounts}.",
    }
    /// *Who am I* or *log out* from somebody unknown.
    NotSignedIn = "not_signed_in" ["services"] {
        es: "Todavía no has entrado. Para entrar, escríbeme el correo que usas en {services}.",
        en: "You are not signed in yet. To sign in, send me the email address you use with {services}.",
        pt: "Você ainda não entrou. Para entrar, escreva o e-mail que você usa em {services}.",
    }
    /// After *log out*.
    LoggedOut = "logged_out" [] {
        es: "Cerré tu sesión. Escríbeme cuando quieras volver a entrar.",
        en: "You are signed out. Write to me whenever you want to sign in again.",
        pt: "Sessão encerrada. Escreva quando quiser entrar de novo.",
    }
    /// After *forget me*.
    ForgetYou = "forget_you" ["business"] {
        es: "Si quieres, borro lo que guardo de ti: tu número, tu sesión y lo que está en camino. Lo que {business} tenga de ti en otros sistemas no se borra desde aquí. ¿Lo borro?",
        en: "If you like, I delete what I keep about you: your number, your sign-in and what is under way. What {business} has about you in other systems is not deleted from here. Shall I delete it?",
        pt: "Se quiser, apago o que guardo sobre você: seu número, sua sessão e o que está em andamento. O que {business} tem sobre você em outros sistemas não é apagado daqui. Posso apagar?",
    }
    /// After *yes, forget me*.
    Forgotten = "forgotten" [] {
        es: "Listo: cerré tu sesión y en unos minutos no queda nada de lo que guardaba de ti. Si me escribes otra vez, empezamos de cero.",
        en: "Done: you are signed out, and in a few minutes nothing is left of what I kept about you. If you write to me again, we start from the beginning.",
        pt: "Pronto: encerrei sua sessão e em alguns minutos não sobra nada do que eu guardava sobre você. Se me escrever de novo, começamos do zero.",
    }
    /// After *no* to *forget me*.
    NotForgotten = "not_forgotten" [] {
        es: "De acuerdo, no borré nada.",
        en: "All right, nothing was deleted.",
        pt: "Tudo bem, não apaguei nada.",
    }
    /// The services did not answer in time.
    LookUpFailed = "look_up_failed" [] {
        es: "No pude consultar el sistema en este momento, así que no hubo código. Escríbeme tu correo otra vez en unos minutos.",
        en: "I could not reach the system just now, so there was no code. Send me your email address again in a few minutes.",
        pt: "Não consegui consultar o sistema agora, então não houve código. Escreva seu e-mail de novo em alguns minutos.",
    }
    /// Some services answered and some did not.
    LookUpIncomplete = "look_up_incomplete" [] {
        es: "Uno de nuestros sistemas no responde. Si el código no te llega, toca «Reenviar código» en unos minutos.",
        en: "One of our systems is not answering. If no code arrives, tap “Resend code” in a few minutes.",
        pt: "Um dos nossos sistemas não está respondendo. Se o código não chegar, toque em “Reenviar código” em alguns minutos.",
    }
    /// The mail server did not take the mail in time.
    MailFailed = "mail_failed" [] {
        es: "El correo no está funcionando en este momento, así que no hubo código. Escríbeme tu correo otra vez en unos minutos.",
        en: "Email is not working just now, so there was no code. Send me your email address again in a few minutes.",
        pt: "O e-mail não está funcionando agora, então não houve código. Escreva seu e-mail de novo em alguns minutos.",
    }
    /// A link, when it was asked for.
    Link = "link" ["minutes"] {
        es: "Toca el botón para entrar. El enlace vale {minutes} minutos y es solo para ti: no se lo pases a nadie.",
        en: "Tap the button to sign in. The link is good for {minutes} minutes and only for you: do not pass it on.",
        pt: "Toque no botão para entrar. O link vale {minutes} minutos e é só para você: não o passe a ninguém.",
    }
    /// The first answer to somebody unknown, where people sign in on the web only.
    LinkFirst = "link_first" ["business", "services", "minutes"] {
        es: "Hola, aquí {business}. Para ayudarte necesito saber quién eres: toca el botón y entra con tu usuario de {services}. El enlace vale {minutes} minutos y es solo para ti: no se lo pases a nadie.",
        en: "Hello, this is {business}. To help you I need to know who you are: tap the button and sign in with your {services} user. The link is good for {minutes} minutes and only for you: do not pass it on.",
        pt: "Olá, aqui é {business}. Para ajudar, preciso saber quem é você: toque no botão e entre com seu usuário de {services}. O link vale {minutes} minutos e é só para você: não o passe a ninguém.",
    }
    /// A link after an identity change.
    LinkAgainChanged = "link_again_changed" ["minutes"] {
        es: "Tu WhatsApp parece haberse instalado de nuevo o haber cambiado de número. Por tu seguridad cerré la sesión. Para entrar otra vez, toca el botón. El enlace vale {minutes} minutos y es solo para ti.",
        en: "Your WhatsApp seems to have been set up again or to have changed its number. To keep you safe I signed you out. To sign in again, tap the button. The link is good for {minutes} minutes and only for you.",
        pt: "Seu WhatsApp parece ter sido instalado de novo ou mudado de número. Por segurança, encerrei a sessão. Para entrar outra vez, toque no botão. O link vale {minutes} minutos e é só para você.",
    }
    /// A link after a long rest.
    LinkAgainExpired = "link_again_expired" ["minutes"] {
        es: "Hace tiempo que entraste y tu sesión terminó. Para entrar otra vez, toca el botón. El enlace vale {minutes} minutos y es solo para ti.",
        en: "It has been a while since you signed in, and your session has ended. To sign in again, tap the button. The link is good for {minutes} minutes and only for you.",
        pt: "Faz tempo que você entrou e sua sessão terminou. Para entrar outra vez, toque no botão. O link vale {minutes} minutos e é só para você.",
    }
    /// A reminder of the link.
    UseTheLink = "use_the_link" [] {
        es: "Toca el enlace que te envié, entra con tu usuario y, al volver a WhatsApp, pulsa «Enviar». ¿Ya entraste? Entonces solo falta «Enviar». ¿No te funciona? Elige:",
        en: "Tap the link I sent you, sign in, and when you are back in WhatsApp, press “Send”. Already signed in? Then only “Send” is left. Does it not work? Choose:",
        pt: "Toque no link que enviei, entre com seu usuário e, ao voltar ao WhatsApp, toque em “Enviar”. Já entrou? Então só falta “Enviar”. Não funciona? Escolha:",
    }
    /// The link, or the way back from it, is too old.
    LinkExpired = "link_expired" [] {
        es: "Ese enlace ya venció o ya se usó. Toca «Nuevo enlace» para recibir otro.",
        en: "That link has expired or was used already. Tap “New link” to get another one.",
        pt: "Esse link já venceu ou já foi usado. Toque em “Novo link” para receber outro.",
    }
    /// Too many links in this chat.
    TooManyLinks = "too_many_links" ["wait"] {
        es: "Ya te envié varios enlaces. Podrás pedir otro en {wait}.",
        en: "I have sent you several links. You can ask for another in {wait}.",
        pt: "Já enviei vários links. Você poderá pedir outro em {wait}.",
    }
    /// Too many wrong passwords or numbers on the page.
    LinkBurned = "link_burned" [] {
        es: "Hubo demasiados intentos fallidos con tu enlace y lo cerré. Toca «Nuevo enlace» para recibir otro.",
        en: "There were too many failed tries with your link, so I closed it. Tap “New link” to get another one.",
        pt: "Houve tentativas erradas demais com o seu link e eu o fechei. Toque em “Novo link” para receber outro.",
    }
    /// Whoever opened the link had not asked for it.
    LinkDeclined = "link_declined" [] {
        es: "Alguien abrió el enlace que te envié y dijo que no lo había pedido, así que lo cerré. El enlace es solo para ti: no se lo pases a nadie.",
        en: "Somebody opened the link I sent you and said they had not asked for it, so I closed it. The link is only for you: do not pass it on.",
        pt: "Alguém abriu o link que enviei e disse que não o tinha pedido, então eu o fechei. O link é só para você: não o passe a ninguém.",
    }
    /// To whoever asked for a link: the way back came from elsewhere.
    SignInNotCompleted = "sign_in_not_completed" [] {
        es: "No entraste: la confirmación no llegó desde este chat. Si tienes dos números, pide el enlace desde el que quieras usar.",
        en: "You were not signed in: the confirmation did not come from this chat. If you have two numbers, ask for the link from the one you want to use.",
        pt: "Você não entrou: a confirmação não veio desta conversa. Se você tem dois números, peça o link pelo que quiser usar.",
    }
    /// To whoever sent back what belongs to another chat.
    NotYourSignIn = "not_your_sign_in" [] {
        es: "Esa confirmación es de un chat que empezó otro número, y no dejé entrar a nadie. Si no lo pediste tú, alguien intentó usar tu cuenta: no uses enlaces que te mande otra persona. Para entrar desde este número, escribe «hola».",
        en: "That confirmation belongs to a chat that another number started, and I let nobody in. If you did not ask for it, somebody tried to use your account: do not use links that somebody else sends you. To sign in from this number, write “hello”.",
        pt: "Essa confirmação é de uma conversa que outro número começou, e não deixei ninguém entrar. Se você não pediu, alguém tentou usar sua conta: não use links que outra pessoa mandar. Para entrar por este número, escreva “olá”.",
    }
    /// The account may not be bound to this chat.
    AccountRefused = "account_refused" ["business"] {
        es: "Esa cuenta no se puede usar desde este chat. Si crees que es un error, habla con {business} por otro medio.",
        en: "That account cannot be used from this chat. If you think this is a mistake, contact {business} some other way.",
        pt: "Essa conta não pode ser usada nesta conversa. Se você acha que é um engano, fale com {business} por outro meio.",
    }
    /// The password was right, and the mailbox has to be proved as well.
    StepUp = "step_up" ["address", "digits", "minutes"] {
        es: "Alguien entró con tu enlace. Si fuiste tú, escribe aquí el código de {digits} cifras que envié a {address}. Vale {minutes} minutos.",
        en: "Somebody signed in with your link. If it was you, type here the code of {digits} digits that I sent to {address}. It is good for {minutes} minutes.",
        pt: "Alguém entrou com o seu link. Se foi você, escreva aqui o código de {digits} dígitos que enviei para {address}. Vale {minutes} minutos.",
    }
    /// The bot wants to be sure; a code was mailed to the address on file.
    Confirm = "confirm" ["address", "digits", "minutes"] {
        es: "Antes de seguir necesito confirmar que eres tú. Escribe aquí el código de {digits} cifras que envié a {address}. Vale {minutes} minutos. Si no has pedido nada, no lo escribas.",
        en: "Before we go on I need to be sure that it is you. Type here the code of {digits} digits that I sent to {address}. It is good for {minutes} minutes. If you asked for nothing, do not type it.",
        pt: "Antes de continuar preciso confirmar que é você. Escreva aqui o código de {digits} dígitos que enviei para {address}. Vale {minutes} minutos. Se você não pediu nada, não o escreva.",
    }
    /// The bot wants to be sure; no address is known.
    ConfirmAddress = "confirm_address" ["services"] {
        es: "Antes de seguir necesito confirmar que eres tú. Escríbeme el correo que usas en {services} y te envío un código.",
        en: "Before we go on I need to be sure that it is you. Send me the email address you use with {services} and I will send you a code.",
        pt: "Antes de continuar preciso confirmar que é você. Escreva o e-mail que você usa em {services} e eu envio um código.",
    }
    /// The bot wanted to be sure, and the mail could not be sent.
    ConfirmFailed = "confirm_failed" [] {
        es: "El correo no está funcionando en este momento, así que no hubo código. Inténtalo otra vez en unos minutos.",
        en: "Email is not working just now, so there was no code. Try again in a few minutes.",
        pt: "O e-mail não está funcionando agora, então não houve código. Tente de novo em alguns minutos.",
    }
    /// What was typed looks like a password.
    NeverYourPassword = "never_your_password" ["business"] {
        es: "Si eso era tu contraseña, bórrala de este chat: nunca la escribas aquí. {business} no te la va a pedir por WhatsApp, y nadie más la ha recibido. Solo se escribe en la página de inicio de sesión.",
        en: "If that was your password, delete it from this chat: never type it here. {business} will not ask for it on WhatsApp, and it was not passed on to anybody. It belongs on the sign-in page only.",
        pt: "Se isso era a sua senha, apague-a desta conversa: nunca a escreva aqui. {business} não vai pedi-la pelo WhatsApp, e ninguém mais a recebeu. Ela só se escreve na página de entrada.",
    }
    /// The bot wants to be sure; before the button of a link.
    LinkConfirm = "link_confirm" ["minutes"] {
        es: "Antes de seguir necesito confirmar que eres tú. Toca el botón y entra. El enlace vale {minutes} minutos y es solo para ti: no se lo pases a nadie.",
        en: "Before we go on I need to be sure that it is you. Tap the button and sign in. The link is good for {minutes} minutes and only for you: do not pass it on.",
        pt: "Antes de continuar preciso confirmar que é você. Toque no botão e entre. O link vale {minutes} minutos e é só para você: não o passe a ninguém.",
    }
    /// The mail server did not take the mail of a step-up in time.
    StepUpFailed = "step_up_failed" [] {
        es: "El correo no está funcionando en este momento, así que no hubo código. En unos minutos toca «Nuevo enlace» y entra otra vez.",
        en: "Email is not working just now, so there was no code. In a few minutes, tap “New link” and sign in again.",
        pt: "O e-mail não está funcionando agora, então não houve código. Em alguns minutos, toque em “Novo link” e entre de novo.",
    }
    /// The account's owner ended the sign-in by mail.
    Undone = "undone" [] {
        es: "Cerré tu sesión: quien tiene el correo de esa cuenta dijo que no había entrado.",
        en: "You are signed out: whoever has the mailbox of that account said it was not them.",
        pt: "Sessão encerrada: quem tem o e-mail dessa conta disse que não foi ele quem entrou.",
    }
    /// For the bot to say: what was asked for needs an account that was not proved yet.
    NeedSignIn = "need_sign_in" ["service"] {
        es: "Para eso necesito que entres con tu cuenta de {service}.",
        en: "For that I need you to sign in with your {service} account.",
        pt: "Para isso preciso que você entre com sua conta de {service}.",
    }
    /// For the bot to say: what was asked for needs more than a sign-in a few hours ago.
    NeedStepUp = "need_step_up" [] {
        es: "Entraste hace poco. Por tu seguridad, para eso necesito que confirmes otra vez que eres tú.",
        en: "You signed in only recently. To keep you safe, for that I need you to confirm once more that it is you.",
        pt: "Você entrou há pouco tempo. Por segurança, para isso preciso que confirme mais uma vez que é você.",
    }
    /// What a browser makes ready in the chat; the code must come back.
    ReturnText = "return_text" ["business", "code"] {
        es: "Quiero entrar en {business}: {code}",
        en: "I want to sign in to {business}: {code}",
        pt: "Quero entrar em {business}: {code}",
    }
    /// The button of a link, at most 20 characters.
    LinkTitle = "button_link" [] { es: "Entrar", en: "Sign in", pt: "Entrar" }
    /// Button, at most 20 characters.
    ButtonWeb = "button_web" [] { es: "Entrar en la web", en: "Sign in on the web", pt: "Entrar na web" }
    /// Button, at most 20 characters.
    ButtonNewLink = "button_new_link" [] { es: "Nuevo enlace", en: "New link", pt: "Novo link" }
    /// Button, at most 20 characters.
    ButtonResend = "button_resend" [] { es: "Reenviar código", en: "Resend code", pt: "Reenviar código" }
    /// Button, at most 20 characters.
    ButtonOtherAddress = "button_other_address" [] { es: "Otro correo", en: "Other address", pt: "Outro e-mail" }
    /// Button, at most 20 characters.
    ButtonCancel = "button_cancel" [] { es: "Cancelar", en: "Cancel", pt: "Cancelar" }
    /// Button, at most 20 characters.
    ButtonYes = "button_yes" [] { es: "Sí, ese", en: "Yes, that one", pt: "Sim, esse" }
    /// Button, at most 20 characters.
    ButtonNo = "button_no" [] { es: "No, como lo escribí", en: "No, as I wrote it", pt: "Não, como escrevi" }
    /// Button, at most 20 characters.
    ButtonLogOut = "button_log_out" [] { es: "Cerrar sesión", en: "Log out", pt: "Sair" }
    /// Button, at most 20 characters.
    ButtonForgetMe = "button_forget_me" [] { es: "Sí, olvídame", en: "Yes, forget me", pt: "Sim, esqueça-me" }
    /// Button, at most 20 characters.
    ButtonKeepMe = "button_keep_me" [] { es: "No", en: "No", pt: "Não" }
    /// How an account is named.
    AccountName = "account_name" ["name", "company", "service"] {
        es: "{name} ({company}, {service})",
        en: "{name} ({company}, {service})",
        pt: "{name} ({company}, {service})",
    }
    /// How an account without a company is named.
    AccountAlone = "account_alone" ["name", "service"] {
        es: "{name} ({service})",
        en: "{name} ({service})",
        pt: "{name} ({service})",
    }
    /// How somebody is named of whom only the service is known.
    AccountUnnamed = "account_unnamed" ["service"] {
        es: "usuario de {service}",
        en: "a user of {service}",
        pt: "usuário de {service}",
    }
    /// The last joint of a list.
    And = "and" [] { es: "y", en: "and", pt: "e" }
    /// The last joint of a list of which one is enough.
    Or = "or" [] { es: "o", en: "or", pt: "ou" }
    /// One more try.
    Once = "once" [] { es: "una vez más", en: "once more", pt: "mais uma vez" }
    /// Several more tries.
    Times = "times" ["number"] { es: "{number} veces más", en: "{number} more times", pt: "mais {number} vezes" }
    /// A short wait.
    Seconds = "seconds" ["number"] { es: "{number} segundos", en: "{number} seconds", pt: "{number} segundos" }
    /// A wait.
    Minutes = "minutes" ["number"] { es: "{number} minutos", en: "{number} minutes", pt: "{number} minutos" }
    /// A long wait.
    Hours = "hours" ["number"] { es: "{number} horas", en: "{number} hours", pt: "{number} horas" }
    /// Subject of the mail; the code is readable without opening it.
    MailSubject = "mail_subject" ["code", "business"] {
        es: "{code} es tu código para {business}",
        en: "{code} is your code for {business}",
        pt: "{code} é o seu código para {business}",
    }
    /// First line of the mail.
    MailCode = "mail_code" ["code", "business"] {
        es: "{code} es tu código para entrar en el WhatsApp de {business}.",
        en: "{code} is your code to sign in to {business} on WhatsApp.",
        pt: "{code} é o seu código para entrar no WhatsApp de {business}.",
    }
    /// What to do with it.
    MailHow = "mail_how" ["minutes"] {
        es: "Escríbelo en el chat. Vale {minutes} minutos y una sola vez.",
        en: "Type it in the chat. It is good for {minutes} minutes and works once.",
        pt: "Escreva-o na conversa. Vale {minutes} minutos e só uma vez.",
    }
    /// Who asked.
    MailAskedBy = "mail_asked_by" ["chat"] {
        es: "Lo pidió {chat}.",
        en: "It was asked for by {chat}.",
        pt: "Quem pediu foi {chat}.",
    }
    /// A chat with a visible number.
    ChatNumber = "chat_number" ["ending"] {
        es: "el número de WhatsApp que termina en {ending}",
        en: "the WhatsApp number that ends in {ending}",
        pt: "o número de WhatsApp que termina em {ending}",
    }
    /// A chat whose number is hidden.
    ChatHidden = "chat_hidden" [] {
        es: "una cuenta de WhatsApp que no muestra su número",
        en: "a WhatsApp account that does not show its number",
        pt: "uma conta de WhatsApp que não mostra o número",
    }
    /// What to do when it was somebody else.
    MailNotYou = "mail_not_you" ["business"] {
        es: "Si no eres tú, no hagas nada y no le des el código a nadie, tampoco a {business}: quien lo tenga entra en tu cuenta.",
        en: "If that is not you, do nothing and give the code to nobody, not even to {business}: whoever has it gets into your account.",
        pt: "Se não for você, não faça nada e não dê o código a ninguém, nem a {business}: quem tiver o código entra na sua conta.",
    }
    /// Subject of the mail about a new sign-in.
    BoundSubject = "bound_subject" ["business"] {
        es: "Tu cuenta entró en el WhatsApp de {business}",
        en: "Your account was signed in to {business} on WhatsApp",
        pt: "Sua conta entrou no WhatsApp de {business}",
    }
    /// Who signed in, as whom and when.
    BoundWhat = "bound_what" ["chat", "accounts", "time"] {
        es: "Entró {chat}, como {accounts}, el {time}.",
        en: "It was {chat}, signed in as {accounts}, on {time}.",
        pt: "Quem entrou foi {chat}, como {accounts}, em {time}.",
    }
    /// What to do when it was the owner.
    BoundFine = "bound_fine" [] {
        es: "Si fuiste tú, no tienes que hacer nada.",
        en: "If it was you, there is nothing to do.",
        pt: "Se foi você, não precisa fazer nada.",
    }
    /// What to do when it was not.
    BoundUndo = "bound_undo" ["days"] {
        es: "Si no fuiste tú, cierra esa sesión aquí. El enlace vale {days} días:",
        en: "If it was not you, end it here. The link is good for {days} days:",
        pt: "Se não foi você, encerre essa sessão aqui. O link vale {days} dias:",
    }
    /// The button of that link.
    BoundButton = "bound_button" [] { es: "No fui yo", en: "It was not me", pt: "Não fui eu" }
    /// Subject of the mail about a sign-in that was refused.
    RefusedSubject = "refused_subject" ["business"] {
        es: "Alguien intentó usar tu cuenta de {business}",
        en: "Somebody tried to use your {business} account",
        pt: "Alguém tentou usar sua conta de {business}",
    }
    /// What happened.
    RefusedWhat = "refused_what" ["chat", "business"] {
        es: "Alguien usó tu usuario y tu contraseña en un enlace de {business} que había pedido {chat}. Ese chat no parece tuyo, así que no dejé entrar a nadie.",
        en: "Your user name and password were used with a link of {business} that was asked for by {chat}. That chat does not seem to be yours, so I let nobody in.",
        pt: "Seu usuário e sua senha foram usados em um link de {business} que foi pedido por outra conversa: {chat}. Essa conversa não parece sua, então não deixei ninguém entrar.",
    }
    /// What to do.
    RefusedAdvice = "refused_advice" ["business"] {
        es: "Si ese número es tuyo, vuelve a pedir el enlace desde él. Si no, alguien te mandó su enlace: no le respondas, avisa a {business} y cambia tu contraseña si la escribiste en otra página.",
        en: "If that number is yours, ask for the link again from it. If not, somebody sent you their link: do not answer them, tell {business}, and change your password if you typed it on any other page.",
        pt: "Se esse número é seu, peça o link de novo por ele. Se não, alguém mandou o link dele para você: não responda, avise {business} e troque sua senha se você a escreveu em outra página.",
    }
    /// A moment in the past.
    AgoMoment = "ago_moment" [] {
        es: "hace un momento",
        en: "a moment ago",
        pt: "há um instante",
    }
    /// A moment in the past.
    AgoMinute = "ago_minute" [] {
        es: "hace un minuto",
        en: "a minute ago",
        pt: "há um minuto",
    }
    /// A moment in the past.
    AgoMinutes = "ago_minutes" ["number"] {
        es: "hace {number} minutos",
        en: "{number} minutes ago",
        pt: "há {number} minutos",
    }
    /// A moment in the past.
    AgoHour = "ago_hour" [] {
        es: "hace una hora",
        en: "an hour ago",
        pt: "há uma hora",
    }
    /// A moment in the past.
    AgoHours = "ago_hours" ["number"] {
        es: "hace {number} horas",
        en: "{number} hours ago",
        pt: "há {number} horas",
    }
    /// A moment in the past.
    AgoDay = "ago_day" [] {
        es: "hace un día",
        en: "a day ago",
        pt: "há um dia",
    }
    /// A moment in the past.
    AgoDays = "ago_days" ["number"] {
        es: "hace {number} días",
        en: "{number} days ago",
        pt: "há {number} dias",
    }
    /// The sign-in page: what it is for.
    PageSignIn = "page_sign_in" ["business"] {
        es: "Entra en {business}",
        en: "Sign in to {business}",
        pt: "Entre em {business}",
    }
    /// The sign-in page: who asked for the link.
    PageAskedBy = "page_asked_by" ["when", "chat"] {
        es: "Este enlace lo pidió {when} {chat}.",
        en: "This link was asked for {when} by {chat}.",
        pt: "Quem pediu este link {when} foi {chat}.",
    }
    /// The sign-in page: against links that somebody else passed on.
    PageOnlyFrom = "page_only_from" ["business"] {
        es: "Este enlace tiene que habértelo enviado {business}. Si te lo pasó otra persona, detente.",
        en: "You should have this link from {business} itself. If anybody else sent it to you, stop.",
        pt: "Este link deve ter vindo de {business}. Se outra pessoa o enviou para você, pare.",
    }
    /// The sign-in page: label of a field.
    PageNumber = "page_number" [] {
        es: "Tu número de WhatsApp",
        en: "Your WhatsApp number",
        pt: "Seu número de WhatsApp",
    }
    /// The sign-in page: which number is meant.
    PageNumberHint = "page_number_hint" ["business"] {
        es: "El número con el que le escribes a {business}.",
        en: "The number you write to {business} with.",
        pt: "O número com que você escreve para {business}.",
    }
    /// The sign-in page: label of a field.
    PageUser = "page_user" [] {
        es: "Correo o usuario",
        en: "Email or user name",
        pt: "E-mail ou usuário",
    }
    /// The sign-in page: label of a field.
    PagePassword = "page_password" [] {
        es: "Contraseña",
        en: "Password",
        pt: "Senha",
    }
    /// The sign-in page: what happens after it.
    PageAfterwards = "page_afterwards" [] {
        es: "Después vuelves a WhatsApp y tocas Enviar.",
        en: "You go back to WhatsApp afterwards and press Send.",
        pt: "Depois você volta ao WhatsApp e toca em Enviar.",
    }
    /// The sign-in page: what was typed is not right.
    PageWrongPassword = "page_wrong_password" ["left"] {
        es: "Ese usuario y esa contraseña no van juntos. Puedes intentarlo {left}.",
        en: "That user and password do not go together. You can try {left}.",
        pt: "Esse usuário e essa senha não combinam. Você pode tentar {left}.",
    }
    /// The sign-in page: they do not belong together, and tries are not counted by the link.
    PageWrongUserOrPassword = "page_wrong_user_or_password" [] {
        es: "Ese usuario y esa contraseña no van juntos. Revísalos e inténtalo otra vez.",
        en: "That user and password do not go together. Check them and try again.",
        pt: "Esse usuário e essa senha não combinam. Confira e tente de novo.",
    }
    /// The sign-in page: the number typed is not the chat's.
    PageWrongNumber = "page_wrong_number" ["left"] {
        es: "Este enlace es de otro número. Si no lo pediste tú, detente. Si fue un error al escribir, puedes intentarlo {left}.",
        en: "This link belongs to another number. If you did not ask for it, stop. If you mistyped, you can try {left}.",
        pt: "Este link é de outro número. Se não foi você que pediu, pare. Se foi erro de digitação, você pode tentar {left}.",
    }
    /// The sign-in page: an empty field.
    PageMissingNumber = "page_missing_number" [] {
        es: "Escribe tu número de WhatsApp.",
        en: "Type your WhatsApp number.",
        pt: "Escreva seu número de WhatsApp.",
    }
    /// The sign-in page: an empty field.
    PageMissingUser = "page_missing_user" [] {
        es: "Escribe tu correo o tu usuario.",
        en: "Type your email or user name.",
        pt: "Escreva seu e-mail ou usuário.",
    }
    /// The sign-in page: an empty field.
    PageMissingPassword = "page_missing_password" [] {
        es: "Escribe tu contraseña.",
        en: "Type your password.",
        pt: "Escreva sua senha.",
    }
    /// The sign-in page: the company's system does not answer.
    PageUnavailable = "page_unavailable" ["business"] {
        es: "El sistema de {business} no responde en este momento. Prueba otra vez en un minuto.",
        en: "The system of {business} is not answering just now. Try again in a minute.",
        pt: "O sistema de {business} não está respondendo agora. Tente de novo em um minuto.",
    }
    /// The sign-in page: too many people at once.
    PageBusy = "page_busy" [] {
        es: "Hay mucha gente entrando a la vez. Prueba otra vez en unos segundos.",
        en: "Many people are signing in at once. Try again in a few seconds.",
        pt: "Há muita gente entrando ao mesmo tempo. Tente de novo em alguns segundos.",
    }
    /// The sign-in page: too many tries for this user or from this network.
    PageTooManyTries = "page_too_many_tries" ["wait"] {
        es: "Hubo demasiados intentos. Espera {wait} y prueba otra vez; si el enlace ya no sirve, pide uno nuevo en el chat.",
        en: "There were too many tries. Wait {wait} and try again; if the link no longer works, ask for a new one in the chat.",
        pt: "Houve tentativas demais. Espere {wait} e tente de novo; se o link já não valer, peça um novo na conversa.",
    }
    /// A dead link: heading.
    PageGone = "page_gone" [] {
        es: "Este enlace ya no sirve",
        en: "This link no longer works",
        pt: "Este link não vale mais",
    }
    /// A dead link: what to do.
    PageGoneHow = "page_gone_how" ["minutes"] {
        es: "Valía {minutes} minutos y para entrar una sola vez. Vuelve al chat y pide uno nuevo.",
        en: "It was good for {minutes} minutes and for one sign-in. Go back to the chat and ask for a new one.",
        pt: "Valia {minutes} minutos e para entrar uma só vez. Volte à conversa e peça um novo.",
    }
    /// The page without a link: heading.
    PageNoLink = "page_no_link" [] {
        es: "Abre el enlace desde el chat",
        en: "Open the link from the chat",
        pt: "Abra o link pela conversa",
    }
    /// The page without a link: what to do.
    PageNoLinkHow = "page_no_link_how" [] {
        es: "Esta página solo se abre con el enlace que recibiste. Vuelve a WhatsApp y tócalo otra vez.",
        en: "This page only opens with the link you were sent. Go back to WhatsApp and tap it again.",
        pt: "Esta página só abre com o link que você recebeu. Volte ao WhatsApp e toque nele de novo.",
    }
    /// After *it was not me*: heading.
    PageDeclined = "page_declined" [] {
        es: "Gracias por avisar",
        en: "Thank you for telling us",
        pt: "Obrigado por avisar",
    }
    /// After *it was not me*: what was done.
    PageDeclinedWhat = "page_declined_what" ["business"] {
        es: "El enlace quedó anulado, nadie entró y {business} ya lo sabe. Si alguien te lo mandó, no le respondas.",
        en: "The link is dead, nobody was signed in, and {business} has been told. If somebody sent you this link, do not answer them.",
        pt: "O link foi anulado, ninguém entrou e {business} já sabe. Se alguém enviou este link para você, não responda.",
    }
    /// Too many wrong tries: heading.
    PageBurned = "page_burned" [] {
        es: "Demasiados intentos",
        en: "Too many tries",
        pt: "Tentativas demais",
    }
    /// Too many wrong tries: what to do.
    PageBurnedHow = "page_burned_how" [] {
        es: "Por tu seguridad anulamos este enlace. Nadie entró. Vuelve al chat y pide uno nuevo.",
        en: "To keep you safe, this link is dead now. Nobody was signed in. Go back to the chat and ask for a new one.",
        pt: "Para sua segurança, anulamos este link. Ninguém entrou. Volte à conversa e peça um novo.",
    }
    /// After the right password, on a computer: heading.
    PageBack = "page_back" [] {
        es: "Falta un paso",
        en: "One more step",
        pt: "Falta um passo",
    }
    /// After the right password, on a computer: what to do.
    PageBackHow = "page_back_how" [] {
        es: "Abre WhatsApp: el mensaje ya está escrito.",
        en: "Open WhatsApp: the message is already written.",
        pt: "Abra o WhatsApp: a mensagem já está escrita.",
    }
    /// After the right password, on a computer: about the picture.
    PageBackScan = "page_back_scan" [] {
        es: "¿WhatsApp está en tu teléfono? Escanea esto con la cámara.",
        en: "Is WhatsApp on your phone? Scan this with its camera.",
        pt: "Seu WhatsApp está no celular? Aponte a câmera para isto.",
    }
    /// After the right password, on a computer: a warning.
    PageBackNever = "page_back_never" [] {
        es: "Toca Enviar ahí. No le des esto nunca a nadie, tampoco a nosotros.",
        en: "Press Send there. Never give this to anyone, not even to us.",
        pt: "Toque em Enviar lá. Nunca dê isto a ninguém, nem a nós.",
    }
    /// After the right password, on a computer: the picture, for those who do not see it.
    PageBackPicture = "page_back_picture" [] {
        es: "Código QR que abre ese mismo mensaje en WhatsApp",
        en: "QR code that opens the same message in WhatsApp",
        pt: "Código QR que abre a mesma mensagem no WhatsApp",
    }
    /// Signed in: heading.
    PageFinished = "page_finished" [] {
        es: "Listo, ya entraste",
        en: "You are signed in",
        pt: "Pronto, você entrou",
    }
    /// Signed in: what to do.
    PageFinishedHow = "page_finished_how" [] {
        es: "Vuelve al chat y sigue donde estabas.",
        en: "Go back to the chat and go on where you were.",
        pt: "Volte à conversa e continue de onde parou.",
    }
    /// A code was mailed: heading.
    PageMailSent = "page_mail_sent" [] {
        es: "Revisa tu correo",
        en: "Check your email",
        pt: "Veja seu e-mail",
    }
    /// A code was mailed: what to do.
    PageMailSentHow = "page_mail_sent_how" ["address"] {
        es: "Enviamos un código a {address}. Escríbelo en el chat.",
        en: "We mailed a code to {address}. Type it in the chat.",
        pt: "Enviamos um código para {address}. Digite esse código na conversa.",
    }
    /// The phone on file is another one: heading.
    PageRefused = "page_refused" [] {
        es: "No pudimos dejarte entrar",
        en: "We could not sign you in",
        pt: "Não foi possível entrar",
    }
    /// The phone on file is another one: what to do.
    PageRefusedHow = "page_refused_how" ["business"] {
        es: "Nadie entró: esta cuenta no se puede usar desde ese chat. Si cambiaste de número o crees que es un error, habla con {business}.",
        en: "Nobody was signed in: this account cannot be used from that chat. If you changed your number or think this is a mistake, contact {business}.",
        pt: "Ninguém entrou: esta conta não pode ser usada nessa conversa. Se você mudou de número ou acha que é um engano, fale com {business}.",
    }
    /// Undoing a sign-in: heading.
    PageUndo = "page_undo" [] {
        es: "¿Fuiste tú?",
        en: "Was this you?",
        pt: "Foi você?",
    }
    /// Undoing a sign-in: who and when.
    PageUndoWho = "page_undo_who" ["account", "chat", "when", "date"] {
        es: "Con tu cuenta {account} entró {chat}, {when} ({date}).",
        en: "Your account {account} was signed in by {chat}, {when} ({date}).",
        pt: "Quem entrou com a sua conta {account} foi {chat}, {when} ({date}).",
    }
    /// Undoing a sign-in: what to do.
    PageUndoHow = "page_undo_how" [] {
        es: "Si fuiste tú, no hagas nada. Si no, cierra esa sesión.",
        en: "If it was you, do nothing. If not, sign it out.",
        pt: "Se foi você, não faça nada. Se não, encerre essa sessão.",
    }
    /// A sign-in undone: heading.
    PageUndone = "page_undone" [] {
        es: "Sesión cerrada",
        en: "Signed out",
        pt: "Sessão encerrada",
    }
    /// A sign-in undone: what now.
    PageUndoneWhat = "page_undone_what" ["business"] {
        es: "Ese WhatsApp ya no puede usar tu cuenta. Si alguien más sabe tu contraseña, cámbiala y avísale a {business}.",
        en: "That WhatsApp can no longer use your account. If somebody else may know your password, change it and tell {business}.",
        pt: "Esse WhatsApp não pode mais usar sua conta. Se mais alguém souber sua senha, crie outra e avise {business}.",
    }
    /// Undoing a sign-in is no longer possible.
    PageUndoGone = "page_undo_gone" ["days", "business"] {
        es: "Ya se usó, pasaron más de {days} días o esa sesión ya terminó. Si algo te preocupa, escríbele a {business}.",
        en: "It was used already, is more than {days} days old, or that session has ended. If something worries you, write to {business}.",
        pt: "Já foi usado, passaram mais de {days} dias ou essa sessão já terminou. Se algo preocupa você, escreva para {business}.",
    }
    /// Something is wrong on our side: heading.
    PageFailure = "page_failure" [] {
        es: "Algo falló de nuestro lado",
        en: "Something went wrong on our side",
        pt: "Algo falhou do nosso lado",
    }
    /// Something is wrong on our side: what to do.
    PageFailureHow = "page_failure_how" [] {
        es: "No fue culpa tuya. Espera un momento y prueba otra vez.",
        en: "It was not your fault. Wait a moment and try again.",
        pt: "Não foi culpa sua. Espere um momento e tente de novo.",
    }
    /// Button of a page.
    PageButtonSignIn = "page_button_sign_in" [] {
        es: "Entrar",
        en: "Sign in",
        pt: "Entrar",
    }
    /// Button of a page.
    PageButtonNotMe = "page_button_not_me" [] {
        es: "No fui yo",
        en: "It was not me",
        pt: "Não fui eu",
    }
    /// Button of a page.
    PageButtonChat = "page_button_chat" [] {
        es: "Volver a WhatsApp",
        en: "Back to WhatsApp",
        pt: "Voltar ao WhatsApp",
    }
    /// Button of a page.
    PageButtonUndo = "page_button_undo" [] {
        es: "Cerrar esa sesión",
        en: "Sign it out",
        pt: "Encerrar essa sessão",
    }
}
