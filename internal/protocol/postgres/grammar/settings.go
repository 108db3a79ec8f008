package grammar

import (
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// harmlessSettings change how long things take, how values are written, and what is told; none changes what a statement
// is read as, whose rights it has, or what is checked.
var harmlessSettings = words(`application_name bytea_output client_min_messages constraint_exclusion cursor_tuple_fraction datestyle
	deadlock_timeout default_statistics_target default_transaction_deferrable default_transaction_isolation default_transaction_read_only
	effective_cache_size enable_async_append enable_bitmapscan enable_gathermerge enable_hashagg enable_hashjoin enable_incremental_sort
	enable_indexonlyscan enable_indexscan enable_material enable_memoize enable_mergejoin enable_nestloop enable_parallel_append
	enable_parallel_hash enable_partition_pruning enable_partitionwise_aggregate enable_partitionwise_join enable_seqscan enable_sort enable_tidscan
	escape_string_warning extra_float_digits from_collapse_limit geqo gin_fuzzy_search_limit idle_in_transaction_session_timeout
	idle_session_timeout intervalstyle jit join_collapse_limit lc_messages lc_monetary lc_numeric lc_time lock_timeout
	max_parallel_workers_per_gather parallel_setup_cost parallel_tuple_cost plan_cache_mode random_page_cost row_security seq_page_cost
	statement_timeout synchronize_seqscans timezone tcp_keepalives_idle tcp_keepalives_interval tcp_keepalives_count tcp_user_timeout
	transaction_timeout transaction_isolation transaction_read_only transaction_deferrable vacuum_cost_delay work_mem maintenance_work_mem
	hash_mem_multiplier effective_io_concurrency default_table_access_method default_toast_compression xmlbinary xmloption
	client_connection_check_interval quote_all_identifiers restrict_nonsystem_relation_kind`)

// immaterialSettings are those of them with which a statement means and gives the same: how long things take, what is told, and limits.
var immaterialSettings = words(`application_name client_min_messages constraint_exclusion cursor_tuple_fraction deadlock_timeout default_statistics_target
	effective_cache_size enable_async_append enable_bitmapscan enable_gathermerge enable_hashagg enable_hashjoin enable_incremental_sort
	enable_indexonlyscan enable_indexscan enable_material enable_memoize enable_mergejoin enable_nestloop enable_parallel_append
	enable_parallel_hash enable_partition_pruning enable_partitionwise_aggregate enable_partitionwise_join enable_seqscan enable_sort enable_tidscan
	escape_string_warning from_collapse_limit geqo gin_fuzzy_search_limit idle_in_transaction_session_timeout idle_session_timeout jit join_collapse_limit
	lc_messages lock_timeout max_parallel_workers_per_gather parallel_setup_cost parallel_tuple_cost plan_cache_mode random_page_cost seq_page_cost
	statement_timeout synchronize_seqscans tcp_keepalives_idle tcp_keepalives_interval tcp_keepalives_count tcp_user_timeout transaction_timeout
	vacuum_cost_delay work_mem maintenance_work_mem hash_mem_multiplier effective_io_concurrency client_connection_check_interval
	client_encoding standard_conforming_strings names role session_authorization`)

// Material reports whether what a statement means can hang on the parameter, beside the role, which is known by itself, and what can have
// one value only.
func Material(name string) bool { return !immaterialSettings[name] }

// HarmlessSetting reports whether a client may set the parameter to value as it likes.
func HarmlessSetting(name, value string) bool {
	if name == "search_path" {
		return plainPath(value)
	}
	return harmlessSettings[name]
}

// plainPath reports whether a search path leads to nothing but what every session finds.
func plainPath(path string) bool {
	for p := range strings.SplitSeq(path, ",") {
		switch strings.Trim(strings.TrimSpace(p), `"`) {
		case "", "public", "$user", "pg_catalog":
		default:
			return false
		}
	}
	return true
}

// misread says why a parameter's value must not be: text would be read otherwise than it was here.
func misread(name, value string) string {
	v := strings.ToLower(value)
	switch name {
	case "client_encoding", "names":
		if v = strings.ReplaceAll(v, "-", ""); v != "utf8" && v != "unicode" && v != "" {
			return "the gateway reads UTF8 alone"
		}
	case "standard_conforming_strings":
		if v != "on" && v != "true" && v != "yes" && v != "1" && v != "" {
			return "with standard_conforming_strings off, strings would be read in another way"
		}
	case "backslash_quote":
		return "strings would be read in another way"
	}
	return ""
}

func words(s string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(s) {
		out[w] = true
	}
	return out
}

// set is SET and RESET.
func (c *classifier) set(n *pg.VariableSetStmt) {
	kind, name := "set", strings.ToLower(n.Name)
	var values []string
	known := true
	switch n.Kind {
	case pg.VariableSetKind_VAR_RESET:
		kind = "reset"
	case pg.VariableSetKind_VAR_RESET_ALL:
		kind, name = "reset", "all"
	case pg.VariableSetKind_VAR_SET_MULTI: // SET TRANSACTION, SET SESSION CHARACTERISTICS: isolation and read only
		c.kind("set transaction", Session)
		if name == "transaction snapshot" {
			c.effect(Session)
		}
		return
	}
	for _, a := range n.Args {
		v, ok := constant(a)
		known = known && ok
		values = append(values, v)
	}
	c.kind(kind, Session)
	c.setting(name, strings.Join(values, ","), n.IsLocal, known)
	c.s.Setting.Maybe, c.s.Setting.Reset = !known, n.Kind == pg.VariableSetKind_VAR_RESET || n.Kind == pg.VariableSetKind_VAR_SET_DEFAULT
}

// setting says what a change of a parameter can do.
func (c *classifier) setting(name, value string, local, known bool) {
	s := c.s
	s.Setting = &Setting{Name: name, Value: value, Local: local, Maybe: true}
	if why := misread(name, value); why != "" || !known && misread(name, "?") != "" {
		s.Refuse = "setting " + name + ": " + why
	}
	if name == "client_encoding" || name == "standard_conforming_strings" || name == "names" || name == "all" {
		return
	}
	if !known || !HarmlessSetting(name, value) {
		c.effect(Admin)
	}
}

// keeping are the types a cast to which leaves a literal's text as it is, where they have no length. One to name shortens it.
var keeping = words("text varchar bool")

// constant is the text of a literal.
func constant(n *pg.Node) (string, bool) {
	if cast := n.GetTypeCast(); cast != nil {
		t := cast.TypeName
		interval := last(names(t.GetNames())) == "interval" // SET TIME ZONE INTERVAL '1' HOUR
		if !interval && (len(t.GetTypmods()) > 0 || len(t.GetArrayBounds()) > 0 || !keeping[last(names(t.GetNames()))]) {
			return "", false // 'public'::char(3) is another word
		}
		return constant(cast.Arg)
	}
	k := n.GetAConst()
	if k == nil {
		return "", false
	}
	switch v := k.Val.(type) {
	case *pg.A_Const_Sval:
		return v.Sval.Sval, true
	case *pg.A_Const_Boolval:
		if v.Boolval.Boolval {
			return "on", true
		}
		return "off", true
	case *pg.A_Const_Ival:
		return strconv.Itoa(int(v.Ival.Ival)), true
	case *pg.A_Const_Fval:
		return v.Fval.Fval, true
	}
	return "", false
}
