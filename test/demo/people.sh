# Sourced: stands for a company's identity provider, which cannot be reached here. people_init FOLDER makes its key and
# its JWKS; people_token NAME GROUP prints a token for Gatebook that is good for eight hours.
b64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
people_init() {
  PEOPLE=$1
  openssl genrsa -out "$PEOPLE/people.key" 2048 2>/dev/null
  local n; n=$(openssl rsa -in "$PEOPLE/people.key" -noout -modulus | cut -d= -f2 | sed 's/../\\x&/g')
  printf '{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":"1","e":"AQAB","n":"%s"}]}' "$(printf "$n" | b64url)" > "$PEOPLE/people.jwks"
}
people_token() {
  local now head body; now=$(date +%s)
  head=$(printf '{"alg":"RS256","typ":"JWT","kid":"1"}' | b64url)
  body=$(printf '{"iss":"https://people.example","aud":"gatebook","sub":"%s","groups":["%s"],"iat":%s,"exp":%s,"jti":"%s-%s"}' "$1" "$2" "$now" $((now + 28800)) "$1" "$now" | b64url)
  printf '%s.%s.%s' "$head" "$body" "$(printf '%s.%s' "$head" "$body" | openssl dgst -sha256 -sign "$PEOPLE/people.key" | b64url)"
}
