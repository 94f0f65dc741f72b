//! How host names are found by a program into which glibc itself is linked.
//!
//! glibc loads modules named in `/etc/nsswitch.conf` at run time, such as `resolve` and
//! `myhostname` of systemd. They come with the machine's own glibc, and beside the one in the
//! program they end the process: seen with glibc 2.36 in the program and 2.41 on the machine. So
//! such a program asks `/etc/hosts` and the servers in `/etc/resolv.conf`, which need no module.

/// To be called before any thread is started and any name is looked up.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
pub(super) fn without_modules() {
    use std::ffi::{c_char, c_int};
    #[allow(unsafe_code)]
    unsafe extern "C" {
        // In glibc's <nss.h>.
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }
    // SAFETY: both are texts with a zero at their end that live as long as the program, and no
    // other thread is there. It fails for unknown words only.
    #[allow(unsafe_code)]
    unsafe {
        __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr());
    }
}

#[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
pub(super) fn without_modules() {}
