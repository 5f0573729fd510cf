// The texts of the .sql and .json files of this folder, embedded at configuration time.
#pragma once

#include <string_view>

namespace oasis {

extern const std::string_view kSchemaV1Sql;
extern const std::string_view kSchemaV2Sql;
extern const std::string_view kSchemaV3Sql;
extern const std::string_view kSchemaV4Sql;
extern const std::string_view kSchemaV5Sql;
extern const std::string_view kViewsSql;
extern const std::string_view kClaimsJson;  // claims/claims.json

}  // namespace oasis
