//! The program: everything is in the library.

/// Connections, senders and the store take memory and give it back at once, all the time. With the
/// allocator of glibc either they all wait for one lock, or each thread keeps an arena of its own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How little of it is kept: one arena, so that what one thread has given back any other can use;
/// what nobody has used for a tenth of a second goes back to the system; and a thread keeps few
/// pieces for itself, but those up to the size of a page of the store.
// SAFETY: the allocator reads this symbol as a pointer to a string that ends with a zero, which it
// is, and nobody else has one of this name.
#[allow(unsafe_code)]
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 116] = b"\
    narenas:1,dirty_decay_ms:100,muzzy_decay_ms:0,\
    lg_tcache_max:12,tcache_nslots_small_min:4,tcache_nslots_small_max:16\0";

fn main() -> std::process::ExitCode {
    portero::cli::main()
}
