// Package libpgquery is PostgreSQL's own parser (libpg_query, of PostgreSQL 17), compiled to WebAssembly: text ⇄ its tree, as
// bytes of protobuf. It runs in a sandbox, where a fault in a million lines of C breaks the reading of one text: an instance that
// broke is not used again.
//
// libpg_query.wasm is internal/wasm/libpg_query.so of github.com/wasilibs/go-pgquery v0.0.0-20260728010200-155ebad2880e, byte for
// byte (MIT; LICENSE.libpg_query, also of what it is made from). That module links a second copy in C where there is cgo, compiles
// anew for every instance, and uses instances on that broke; so its Go part is not used.
package libpgquery
