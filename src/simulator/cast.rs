//! Who appears in the demo and in the tests: people, their phones, the companies they work for,
//! and the services that know them. All addresses are in domains reserved for examples (RFC 2606).

/// The business that everybody writes to.
#[derive(Clone, Copy, Debug)]
pub struct Business {
    /// What people call it.
    pub name: &'static str,
    /// Dialable number, digits only.
    pub number: &'static str,
    /// Meta's id of that number.
    pub phone_number_id: &'static str,
    /// Meta's id of the account that owns it.
    pub account_id: &'static str,
}

/// The only business of the simulator: Portero serves one per process.
pub const BUSINESS: Business = Business {
    name: "Inpla",
    number: "15550783881",
    phone_number_id: "106540352242922",
    account_id: "102290129340398",
};

/// One person with a phone.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    /// As in the WhatsApp profile.
    pub name: &'static str,
    /// WhatsApp's account id: digits, country code first.
    pub wa_id: &'static str,
    /// Business-scoped user id, which every webhook carries.
    pub bsuid: &'static str,
    /// Whether the number is shown to businesses; else only the user name is.
    pub shows_number: bool,
    /// Adopted user name, without `@`.
    pub username: Option<&'static str>,
    /// The mailbox of this person.
    pub email: &'static str,
}

impl Person {
    /// What this person types on a sign-in page besides the address: the password of the first
    /// service that knows them.
    pub fn password(&self) -> Option<&'static str> {
        let users = SERVICES.iter().flat_map(|service| service.users);
        let mut own = users.filter(|user| user.email == self.email);
        own.next().map(|user| user.password)
    }

    /// The number as people read it.
    pub fn number_for_people(&self) -> String {
        let digits = self.wa_id;
        let (country, rest) = digits.split_at(2);
        let (area, rest) = rest.split_at(if country == "57" { 3 } else { 2 });
        let (first, last) = rest.split_at(rest.len() - 4);
        format!("+{country} {area} {first} {last}")
    }
}

/// Everybody with a phone. The page shows the first two; the third hides the number.
pub const PEOPLE: [Person; 4] = [
    Person {
        name: "Ana Pérez",
        wa_id: "573001234567",
        bsuid: "CO.13491208655302741918",
        shows_number: true,
        username: None,
        email: "ana@example.com",
    },
    Person {
        name: "Bruno Carvalho",
        wa_id: "5511987654321",
        bsuid: "BR.20817733500412968834",
        shows_number: true,
        username: None,
        email: "bruno@example.org",
    },
    Person {
        name: "Lucía",
        wa_id: "525587654321",
        bsuid: "MX.77120934418826510043",
        shows_number: false,
        username: Some("lucia.fdz"),
        email: "lucia@example.com",
    },
    Person {
        name: "Camila Torres",
        wa_id: "573157654389",
        bsuid: "CO.64402917358810027745",
        shows_number: true,
        username: None,
        email: "camila@example.org",
    },
];

/// Ana's phone, a Colombian number; Ana is known to both services.
pub const ANA: usize = 0;
/// Bruno's phone, a Brazilian number.
pub const BRUNO: usize = 1;
/// The phone of Lucía, who shows businesses her user name only.
pub const LUCIA: usize = 2;
/// Camila's phone, a Colombian number.
pub const CAMILA: usize = 3;

/// An address that no service knows.
pub const STRANGER_EMAIL: &str = "visitante@example.net";

/// One of the company services of the demo.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its name in the configuration and in paths.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// Who it knows.
    pub users: &'static [User],
}

/// A user of a service.
#[derive(Clone, Copy, Debug)]
pub struct User {
    /// The service's own id.
    pub id: &'static str,
    /// Full name.
    pub name: &'static str,
    /// Address on file, and the user name; the id is one too.
    pub email: &'static str,
    /// For signing in; made up, and shown to whoever plays.
    pub password: &'static str,
    /// Digits of the phone on file.
    pub phone: Option<&'static str>,
    /// The company the user works for.
    pub company: Company,
    /// What is on order.
    pub orders: &'static [Paper],
    /// What is to be paid.
    pub invoices: &'static [Paper],
}

/// An order or an invoice, in the words of the service that keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paper {
    /// What people quote.
    pub number: &'static str,
    /// What was ordered, or how much is due.
    pub what: &'static str,
    /// How far it has got.
    pub state: &'static str,
}

const fn paper(number: &'static str, what: &'static str, state: &'static str) -> Paper {
    Paper {
        number,
        what,
        state,
    }
}

/// A company that uses the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Company {
    /// The service's own id.
    pub id: &'static str,
    /// What people call it.
    pub name: &'static str,
}

const ESPIGA: Company = Company {
    id: "c-espiga",
    name: "Panadería La Espiga",
};
const SERRA_AZUL: Company = Company {
    id: "c-serra-azul",
    name: "Café Serra Azul",
};

/// Kutamma knows the bakery, woku mostly the coffee house; Ana Pérez works with both services.
pub const SERVICES: [Service; 2] = [
    Service {
        name: "kutamma",
        title: "Kutamma",
        users: &[
            User {
                id: "k-1001",
                name: "Ana Pérez",
                email: "ana@example.com",
                password: "pan de masa madre",
                phone: None,
                company: ESPIGA,
                orders: &[
                    paper("K-2041", "Harina de trigo, 40 kg", "sale mañana"),
                    paper("K-2044", "Levadura fresca, 6 kg", "en preparación"),
                ],
                invoices: &[paper("F-311", "182.000 COP", "vence el viernes")],
            },
            User {
                id: "k-1002",
                name: "Lucía Fernández",
                email: "lucia@example.com",
                password: "luna sobre Madrid",
                phone: None,
                company: ESPIGA,
                orders: &[paper("K-2039", "Cajas para tartas, 200", "en camino")],
                invoices: &[],
            },
            User {
                id: "k-1003",
                name: "Diego Ramírez",
                email: "diego@example.com",
                password: "tres tristes tigres",
                phone: Some("573105550199"),
                company: ESPIGA,
                orders: &[],
                invoices: &[],
            },
        ],
    },
    Service {
        name: "woku",
        title: "woku",
        users: &[
            User {
                id: "w-ana",
                name: "Ana Pérez",
                email: "ana@example.com",
                password: "harina, agua y sal",
                phone: None,
                company: ESPIGA,
                orders: &[paper("W-118", "Café de Huila, 10 kg", "en camino")],
                invoices: &[],
            },
            User {
                id: "w-bruno",
                name: "Bruno Carvalho",
                email: "bruno@example.org",
                password: "pão de queijo quente",
                phone: None,
                company: SERRA_AZUL,
                orders: &[paper("W-120", "Café bourbon amarelo, 60 kg", "sai amanhã")],
                invoices: &[],
            },
            User {
                id: "w-camila",
                name: "Camila Torres",
                email: "camila@example.org",
                password: "montaña azul y verde",
                phone: None,
                company: SERRA_AZUL,
                orders: &[paper("W-123", "Filtros de papel, 500", "en preparación")],
                invoices: &[],
            },
            User {
                id: "w-joao",
                name: "João Silva",
                email: "joao@example.org",
                password: "café com açúcar",
                phone: Some("5521998765432"),
                company: SERRA_AZUL,
                orders: &[],
                invoices: &[],
            },
        ],
    },
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::id::{Bsuid, EmailAddress, WaId};

    #[test]
    fn everybody_is_well_formed_and_the_stranger_is_unknown() {
        for person in PEOPLE {
            WaId::parse(person.wa_id).unwrap();
            Bsuid::parse(person.bsuid).unwrap();
            EmailAddress::parse(person.email).unwrap();
            assert!(person.password().is_some());
        }
        for user in SERVICES.iter().flat_map(|service| service.users) {
            EmailAddress::parse(user.email).unwrap();
            assert_ne!(user.email, STRANGER_EMAIL);
            crate::app::user::password(user.password).unwrap();
        }
        assert_eq!(PEOPLE[ANA].number_for_people(), "+57 300 123 4567");
        assert_eq!(PEOPLE[BRUNO].number_for_people(), "+55 11 98765 4321");
    }
}
