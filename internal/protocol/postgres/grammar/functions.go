package grammar

import (
	_ "embed"
	"slices"
	"strings"
)

// harmlessNames are the functions of pg_catalog that change nothing and run no text as SQL: those of which every
// variant is declared immutable or stable, but for some that are dangerous all the same (table_to_xml and its kin run
// queries; txid_current uses up a transaction), and some that are volatile because their result is.
//
//go:embed harmless.txt
var harmlessNames string

// isHarmless reports whether a function of pg_catalog by that name changes nothing.
var isHarmless = func() func(string) bool {
	names := map[string]bool{}
	for n := range strings.Lines(harmlessNames) {
		names[strings.TrimSpace(n)] = true
	}
	return func(n string) bool { return names[n] }
}()

// writing functions change data or what others see, and no more than that.
var writing = []string{"nextval", "setval", "pg_notify", "pg_stat_clear_snapshot", "lo_creat", "lo_create", "lo_from_bytea", "lo_put",
	"lo_unlink", "lo_open", "lo_close", "loread", "lowrite", "lo_get", "lo_lseek", "lo_lseek64", "lo_tell", "lo_tell64", "lo_truncate", "lo_truncate64"}

// locking functions change what the session holds. That they wait for others is their use.
var locking = []string{"pg_advisory_lock", "pg_advisory_lock_shared", "pg_advisory_unlock", "pg_advisory_unlock_all", "pg_advisory_unlock_shared",
	"pg_advisory_xact_lock", "pg_advisory_xact_lock_shared", "pg_try_advisory_lock", "pg_try_advisory_lock_shared",
	"pg_try_advisory_xact_lock", "pg_try_advisory_xact_lock_shared", "pg_sleep", "pg_sleep_for", "pg_sleep_until", "setseed", "pg_export_snapshot",
	"txid_current", "pg_current_xact_id"}

// effectOf is what calling a function that is not harmless can do.
func effectOf(name string) string {
	switch {
	case slices.Contains(writing, name):
		return Write
	case slices.Contains(locking, name):
		return Session
	}
	return Admin
}
