// Package config is Gatebook's configuration: one tree of structs, loaded strictly from one YAML file. It guarantees
// that an unknown key, a wrong type or a missing value is an error that names its line and says what to do, and that
// what it returns is complete: every default is filled in.
package config

import "time"

// Config is the whole configuration file.
type Config struct {
	// Address that clients connect to, as host:port. TLS only.
	Listen string `yaml:"listen" default:":8443"`
	// URL under which clients reach this gateway, such as https://gatebook.example.com:8443. It is written into
	// kubeconfigs, approval links and messages to agents. Default: https://localhost with the port of listen.
	URL string `yaml:"url"`
	// Address for /healthz, /readyz and /metrics, without TLS and without authentication: keep it on an
	// address that only your monitoring reaches.
	Admin string `yaml:"admin" default:"127.0.0.1:9090"`
	// Folder for the journal, the index, the ledger, generated keys, and what is compiled once and then run. One process only, and nobody
	// else may write there.
	Data string `yaml:"data" default:"/var/lib/gatebook"`
	// Address for clients of PostgreSQL targets, as host:port. TLS only. Empty: none.
	ListenPostgres string `yaml:"listenPostgres"`
	// The gateway's own certificate.
	TLS TLS `yaml:"tls"`
	// Who is believed, and how their tokens become principals. At least one, unless embeddedIssuer is on.
	Issuers []Issuer `yaml:"issuers"`
	// A small OpenID Connect issuer inside Gatebook, for a first run and for teams without an identity provider.
	EmbeddedIssuer EmbeddedIssuer `yaml:"embeddedIssuer"`
	// What can be reached through the gateway.
	Targets []Target `yaml:"targets"`
	// Folder with the policy's YAML files. Empty: the embedded default policy.
	Policy string `yaml:"policy"`
	// Who may do what with Gatebook itself.
	Roles Roles `yaml:"roles"`
	// How sessions are told apart.
	Sessions Sessions `yaml:"sessions"`
	// How approvals are asked for.
	Approvals Approvals `yaml:"approvals"`
	// How operations are recorded and kept.
	Recording Recording `yaml:"recording"`
	// How long what grows beside the book is kept.
	Retention Retention `yaml:"retention"`
	// How secrets are recognised.
	Masking Masking `yaml:"masking"`
	// Bounds on what one client can make the gateway hold. A request beyond a limit is refused by the limit's name.
	Limits Limits `yaml:"limits"`
	// How long streams may go on after a shutdown was asked for.
	Drain time.Duration `yaml:"drain" default:"20s"`
}

// TLS is the gateway's certificate.
type TLS struct {
	// PEM file with the certificate chain, and its key. Re-read when they change. Both empty: a certificate is
	// made at the first start, signed by a CA that is kept in the data folder as ca.crt.
	CertificateFile string `yaml:"certificateFile"`
	KeyFile         string `yaml:"keyFile"`
	// Names and addresses for a certificate made by Gatebook, beside localhost and the host of url.
	Names []string `yaml:"names"`
}

// Issuer is one OpenID Connect issuer whose tokens are accepted.
type Issuer struct {
	// Short name; it appears in records, and distinguishes equal subjects of different issuers.
	Name string `yaml:"name"`
	// The issuer's identifier: the iss claim of its tokens, letter by letter.
	URL string `yaml:"url"`
	// Audiences that a token must be meant for; one suffices. Tokens for anything else are refused.
	Audiences []string `yaml:"audiences"`
	// Set for a Kubernetes cluster: service-account tokens, whose claims name namespace, service account, pod and node.
	Kubernetes bool `yaml:"kubernetes"`
	// Where the signing keys are: one of jwksURL and jwksFile. Both empty: the issuer's discovery document, or with
	// kubernetes the cluster of the target named by cluster.
	JWKSURL  string `yaml:"jwksURL"`
	JWKSFile string `yaml:"jwksFile"`
	// PEM file with the CA for jwksURL or discovery. Empty: the system's.
	CAFile string `yaml:"caFile"`
	// Name of the target that is this issuer's cluster: its signing keys are read there, and its TokenReview is asked.
	Cluster string `yaml:"cluster"`
	// Ask the cluster about each token (cached for at most 10 s), so that the token of a deleted pod dies with it.
	TokenReview bool `yaml:"tokenReview"`
	// Signing algorithms accepted.
	Algorithms []string `yaml:"algorithms" default:"RS256,ES256"`
	// How far clocks may differ.
	ClockSkew time.Duration `yaml:"clockSkew" default:"30s"`
	// Claim with the user name, and a prefix put before it, such as "corp:".
	UsernameClaim  string `yaml:"usernameClaim" default:"sub"`
	UsernamePrefix string `yaml:"usernamePrefix"`
	// Claim with the groups, and a prefix put before each.
	GroupsClaim  string `yaml:"groupsClaim" default:"groups"`
	GroupsPrefix string `yaml:"groupsPrefix"`
	// Claims that name the same person otherwise, so that nobody approves their own request under another name.
	AliasClaims []string `yaml:"aliasClaims" default:"email,preferred_username"`
	// Claims that a token must carry with exactly these values.
	RequiredClaims map[string]string `yaml:"requiredClaims"`
}

// EmbeddedIssuer is an issuer inside Gatebook.
type EmbeddedIssuer struct {
	// Off unless set.
	Enabled bool `yaml:"enabled"`
	// People who can log in.
	Users []User `yaml:"users"`
	// How long a login lasts.
	TokenLifetime time.Duration `yaml:"tokenLifetime" default:"8h"`
}

// User of the embedded issuer.
type User struct {
	Name   string   `yaml:"name"`
	Groups []string `yaml:"groups"`
	Email  string   `yaml:"email"`
	// bcrypt hash of the password, such as htpasswd -nB prints.
	PasswordHash string `yaml:"passwordHash"`
}

// Target is one upstream.
type Target struct {
	// Name in URLs (/t/NAME), policy and records: lower-case letters, digits and dashes.
	Name string `yaml:"name"`
	// The protocol spoken: kubernetes, model (a language model's API), git (over HTTP), postgres, or web (any HTTP service).
	Protocol string `yaml:"protocol" default:"kubernetes"`
	// Host names that clients may also use to reach this target at the root of the URL.
	Hosts []string `yaml:"hosts"`
	// For policy.
	Labels map[string]string `yaml:"labels"`
	// The upstream's URL (for postgres: postgres://host[:port][/database]), and the PEM file with its CA. Not with kubeconfig.
	URL    string `yaml:"url"`
	CAFile string `yaml:"caFile"`
	// Name that the upstream's certificate is checked against, where it is not the URL's host.
	ServerName string `yaml:"serverName"`
	// Take URL, CA and credential from this kubeconfig ($KUBECONFIG: the one that kubectl would take), and its
	// context (default: the current one).
	Kubeconfig string `yaml:"kubeconfig"`
	Context    string `yaml:"context"`
	// The gateway's own credential: a bearer token, or a client certificate with its key. Files are read again
	// for each use.
	Token Secret `yaml:"token"`
	// Header that the token is put in, such as X-Api-Key. Default: Authorization, as a bearer token. Not for kubernetes
	// and postgres.
	Header string `yaml:"header"`
	// User name that goes with the token, which is then a password: HTTP Basic for git and web, the role for postgres.
	User            string `yaml:"user"`
	CertificateFile string `yaml:"certificateFile"`
	KeyFile         string `yaml:"keyFile"`
	// Kubernetes only: act as the agent by impersonation, so that the cluster's own RBAC still applies to it. Switched
	// off, every request has the rights of the gateway's credential, and only policy limits it.
	Impersonate *bool `yaml:"impersonate" default:"true"`
	// Names of Kubernetes issuers whose service accounts are this cluster's own, beside the issuers whose cluster is this
	// target. An account of any other issuer is passed on by a name with that issuer's prefix, or not at all, since
	// "system:serviceaccount:a:b" is somebody else in every cluster.
	Accounts []string `yaml:"accounts"`
	// Who acts with the gateway's own credential all the same, being its owner. Policy decides for them, too.
	Direct Members `yaml:"direct"`
	// Models only: what tokens cost, for records and for budgets. The first entry that fits a model counts. Where there are
	// entries, the cost used so far is unknown to policy for a model that has none.
	Prices []Price `yaml:"prices"`
	// Web only: hosts that clients reach through this target by using the gateway as their HTTP proxy. With it, url may
	// be left out; the credential is shown to the url's own origin alone.
	Proxy Proxy `yaml:"proxy"`
	// Web only: let through answers that are archives or otherwise compressed by their nature, such as packages, in which
	// nothing can be masked. They are recorded as they are.
	Opaque bool `yaml:"opaque"`
	// Postgres only: whoever is asked for an approval is told how many rows the planner takes the statement to reach. It is asked by
	// EXPLAIN, which runs nothing, over a connection of the gateway's own that can only read.
	Estimate bool `yaml:"estimate"`
}

// Price is what a model's provider asks for a million tokens, in dollars.
type Price struct {
	// Name of the model, or its beginning with * at the end.
	Model string `yaml:"model"`
	// Tokens that are sent, and that come back.
	Input  float64 `yaml:"input"`
	Output float64 `yaml:"output"`
	// Tokens that are read from the provider's cache, and written to it.
	CacheRead  float64 `yaml:"cacheRead"`
	CacheWrite float64 `yaml:"cacheWrite"`
}

// Proxy says what a web target lets clients reach that use the gateway as their HTTP proxy (HTTPS_PROXY).
type Proxy struct {
	// Names, *.names for all below one, * for every name, or addresses, each with an optional port (default: 443, and 80
	// for plain HTTP). An address of the gateway's own machine, network or cloud is reached only where it is named as it is.
	Hosts []string `yaml:"hosts"`
	// Terminate the TLS of tunnels, with certificates of the CA in the data folder (ca.crt), so that every request in them is
	// decided, masked and recorded. Otherwise policy decides on the tunnel alone, and its encrypted bytes are recorded.
	Intercept bool `yaml:"intercept"`
}

// Secret is a reference to a secret value, which is never written into the configuration itself.
type Secret struct {
	// File whose content, without white space at the ends, is the value; read again for each use.
	File string `yaml:"file"`
	// Name of an environment variable.
	Env string `yaml:"env"`
}

// Roles say who may do what with Gatebook itself. Each lists groups and user names; an empty one is nobody.
type Roles struct {
	// May answer approvals for which policy names nobody else, and take back any yes that can still be used.
	Approvers Members `yaml:"approvers"`
	// May list sessions and operations, read recordings and verify. Every reading is recorded.
	Auditors Members `yaml:"auditors"`
	// May revoke.
	Admins Members `yaml:"admins"`
	// May answer an approval outside of policy's terms, with a reason, on record and with an alert.
	BreakGlass Members `yaml:"breakGlass"`
	// May take back a revocation, but none of themselves. Empty: nobody; revocations then stand until they lapse.
	Restorers Members `yaml:"restorers"`
}

// Members of a role.
type Members struct {
	Groups []string `yaml:"groups"`
	Users  []string `yaml:"users"`
}

// Sessions says how runs of an agent are told apart.
type Sessions struct {
	// A principal without a pod starts a new session after this long without a request.
	Idle time.Duration `yaml:"idle" default:"30m"`
}

// Approvals says how people are asked.
type Approvals struct {
	// How long a client is held while people are asked; after that it is refused, and can ask again.
	Hold time.Duration `yaml:"hold" default:"10m"`
	// The same for clients that are known to give up early (all but kubectl).
	HoldOthers time.Duration `yaml:"holdOthers" default:"90s"`
	// Where to send signed notices of approvals.
	Webhook Webhook `yaml:"webhook"`
}

// Webhook receives a signed POST for every approval that is asked, answered or used (Standard Webhooks).
type Webhook struct {
	URL string `yaml:"url"`
	// Key that signs: whsec_ and base64.
	Secret Secret `yaml:"secret"`
	// PEM file with the receiver's CA. Empty: the system's.
	CAFile string `yaml:"caFile"`
}

// Recording says how operations are recorded and kept.
type Recording struct {
	// When an operation counts as recorded: crash (in the kernel: survives a crash of the process), power (changes on
	// disk first: survive a power cut) or paranoid (reads too).
	Durability string `yaml:"durability" default:"power"`
	// age public keys (age1…) of the auditors who can read recordings. Empty: a key is made at the first start
	// and kept in the data folder as auditor.key; move it away.
	Auditors []string `yaml:"auditors"`
	// Folder of the archive. Default: archive in the data folder.
	Archive string `yaml:"archive"`
	// A session's frames are sealed into the archive when they reach this size or age, and when it ends.
	SealBytes int64         `yaml:"sealBytes" default:"16777216"`
	SealAge   time.Duration `yaml:"sealAge" default:"5m"`
	// Name of this gateway's ledger, in its checkpoints. Default: the host of url.
	Origin string `yaml:"origin"`
	// The gateway says that it is not ready when what it recorded has waited longer than this to be sealed under a
	// checkpoint, or to be found by search. It goes on working: what it records stays in the journal.
	MaxBehind time.Duration `yaml:"maxBehind" default:"1h"`
}

// Retention says how long what grows beside the book is kept. The book itself, ledger and archive, Gatebook never removes
// anything from: what may leave the archive is up to the policy of its folder or bucket, and verify names what is missing.
// Nothing goes before it is sealed, under a checkpoint and out of the journal, nor before a note says what goes. Keys not
// set have their default; to keep something for good, give a hundred years (876000h).
type Retention struct {
	// Operations and sessions in the index, after they ended. Then search and sessions no longer find them; show, replay,
	// export and verify read the archive, as before.
	Index time.Duration `yaml:"index" default:"2160h"`
	// Approvals that are settled, with what approvers saw, and revocations that have lapsed. What became of them stays
	// in the book.
	Approvals time.Duration `yaml:"approvals" default:"2160h"`
	// Notices for the webhook that could not be sent.
	Notices time.Duration `yaml:"notices" default:"72h"`
	// What a crash left of the ledger beyond its checkpoint, in the ledger's folder cut. It is kept since an older
	// checkpoint that somebody put back would leave the same.
	Cut time.Duration `yaml:"cut" default:"8760h"`
}

// Masking says how secrets are recognised.
type Masking struct {
	// Shorter values are not recognised where they turn up again, since they would be found everywhere.
	MinValueBytes int `yaml:"minValueBytes" default:"8"`
}

// Limits bound what one client can make the gateway hold.
type Limits struct {
	// Request bodies; what an API server accepts by default is 3 MiB.
	RequestBodyBytes int64 `yaml:"requestBodyBytes" default:"10485760"`
	// A push to a git target, uncompressed, and an object of LFS. They wait in the data folder until they are decided.
	GitPushBytes int64 `yaml:"gitPushBytes" default:"2147483648"`
	// Request headers.
	HeaderBytes int `yaml:"headerBytes" default:"262144"`
	// One message of a PostgreSQL client or server, such as a row.
	SQLMessageBytes int `yaml:"sqlMessageBytes" default:"67108864"`
	// The text of one SQL message.
	SQLStatementBytes int `yaml:"sqlStatementBytes" default:"1048576"`
	// Prepared statements, portals and cursors that one PostgreSQL connection keeps.
	SQLNames int `yaml:"sqlNames" default:"10000"`
	// How long a client may take to send its request's headers, or, of PostgreSQL, to log in.
	HeaderTimeout time.Duration `yaml:"headerTimeout" default:"20s"`
	// How long a client may take to send its request's body. Exec, attach and port-forward have none.
	BodyTimeout time.Duration `yaml:"bodyTimeout" default:"1m"`
	// Concurrent HTTP/2 streams of one connection.
	Streams int `yaml:"streams" default:"1000"`
}
