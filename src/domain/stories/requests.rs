//! What is wrong with a request, and which of several wrongs is answered.

use std::collections::HashMap;

use super::{check, command, document};
use crate::domain::command::{Command, ProductKey};
use crate::domain::configuration::Configuration;
use crate::domain::name::Value;

#[test]
fn the_first_wrong_of_several_is_answered() {
    check(
        "pool = pos.inbound - @iv.@allocated
         reallocate 0 at width=1 from tier=1        to tier=1        => refused /sourceGroups/tier is not an allocation group; the groups are channel, customerGroup, region
         reallocate 0 at width=1 from region=EU     to tier=1        => refused /sourceGroups: region was given without channel
         reallocate 0 at width=1 from Web           to tier=1        => refused /groups/tier is not an allocation group
         reallocate 0 at width=1 from Web           to channel=Web,region=EU => refused /groups: region was given without customerGroup, which is above it
         reallocate 0 at width=1 from Web           to Web           => refused /dimensions/width is not a dimension; the dimensions are siteId, locationId, colorId, sizeId
         reallocate 0 at 1//red  from Web           to Web           => refused /dimensions lacks locationId, which
         reallocate 0 at /       from Web           to Web           => refused /dimensions lacks siteId and locationId, which
         reallocate 0 at 1/11    from Web           to Web           => refused /quantity is 0, which must be greater than 0
         reallocate 1 at 1/11    from Web           to CHANNEL=Web   => refused /sourceGroups is the same group path as groups
         reallocate 1 at 1/11    from Web           to web           => refused 1 asked for, 0 allocated to channel=Web

         consume 0 at width=1 by tier=1 with fno.onhand- => refused /groups/tier
         consume 0 at width=1 by Web    with fno.onhand- => refused /dimensions/width
         consume 0 at 1/11    by Web    with fno.onhand- => refused /quantity is 0
         consume 1 at 1/11    by Web    with fno.onhand- => refused fno.onhand belongs to a data source that is read-only
         consume 1 at 1/11    by Web                     => refused would release 1
         consume 1 at 1/11    by Web    with pos.inbound- => refused 1 asked for, 0 allocated

         allocate   0 at width=1 to tier=1   => refused /groups/tier
         allocate   0 at width=1 to Web      => refused /dimensions/width
         allocate   0 at 1       to Web      => refused /dimensions lacks locationId
         allocate   0 at 1/11    to Web      => refused /quantity is 0
         allocate   1 at 1/11    to Web      => refused 1 asked for, 0 available
         unallocate 0 at width=1 from tier=1 => refused /groups/tier
         unallocate 0 at width=1 from Web    => refused /dimensions/width
         unallocate 0 at 1/11    from Web    => refused /quantity is 0

         post pos.inbound+x at width=1 for tier=1 => refused /groups/tier
         post pos.inbound+x at width=1 for Web    => refused /dimensions/width
         post pos.inbound+x at 1       for Web    => refused /groups is only for settling
         post pos.inbound+x at 1                  => refused /quantities/pos/inbound is x, which is not a decimal number
         unreserve 0 at width=1 of order => refused /dimensions/width
         unreserve 0 at 1       of order => refused /dimensions lacks locationId
         unreserve 0 at 1/11    of order => refused /OffsetQty is 0
         unreserve 1 at 1/11    of order => refused there is no reservation",
    );
}

#[test]
fn quantities_have_their_limits() {
    check(
        "allocate -1                 at 1/11 to Web => refused /quantity is -1, which must be greater than 0
         allocate 0.0000001          at 1/11 to Web => refused has more than 6 decimal places
         allocate 1000000000000001   at 1/11 to Web => refused is beyond the largest magnitude, 10^15
         allocate ten                at 1/11 to Web => refused /quantity is ten, which is not a decimal number
         allocate 1111111111222222222233333333334444444444  at 1/11 to Web => refused is 1111111111222222222233333333334444444444, which
         allocate 11111111112222222222333333333344444444445 at 1/11 to Web => refused is 1111111111222222222233333333334444444444…, which
         post iv.onhand+1e15                     at 1/11 => available 1000000000000000
         post iv.onhand-999999999.999999         at 1/11 => available 999999000000000.000001
         allocate 999999000000000.000002         at 1/11 to Web => refused 999999000000000.000002 asked for, 999999000000000.000001 available
         allocate 999999000000000.000001         at 1/11 to Web => available 0",
    );
    check(
        "pool = 1000000 * iv.onhand + 0.000001 * pos.inbound - @iv.@allocated
         post iv.onhand+10000000e-7 at 1/11 => available 1000000
         post pos.inbound-0.000003  at 1/11 => available 999999.999999999997
         allocate 1000000           at 1/11 to Web => refused 999999.999999999997 available
         allocate 999999.999999     at 1/11 to Web => available 0.000000999997",
    );
}

#[test]
fn a_measure_must_be_one_that_the_request_may_move() {
    check(
        "iv.softreserved = iv.onhand - iv.softreserved - @iv.@allocated
         @iv.@softreserved = iv.onhand - @iv.@softreserved - @iv.@allocated
         post nothing                at 1/11 => refused /quantities must give one measure at least
         post pos.nosuch+1           at 1/11 => refused /quantities/pos/nosuch is not a measure of a configured data source
         post no/such.inbound+1      at 1/11 => refused /quantities/no~1such/inbound is not a measure
         post @iv.@allocated+1       at 1/11 => refused /quantities/@iv/@allocated is not a measure that a request may move
         post @iv.@softreserved+1    at 1/11 => refused /quantities/@iv/@softreserved is not a measure that a request may move
         set  @iv.@consumed=0        at 1/11 => refused /quantities/@iv/@consumed is not a measure that a request may move
         post iv.onhand+1,IV.OnHand+1 at 1/11 => refused /quantities gives a measure twice
         post @iv.@consumed-1,@iv.@allocated-1 at 1/11 for Web => refused /quantities/@iv/@allocated is not a measure

         consume 1 at 1/11 by Web with pos.nosuch-              => refused /physicalMeasures/pos/nosuch is not a measure
         consume 1 at 1/11 by Web with @iv.@allocated-          => refused /physicalMeasures/@iv/@allocated is not a measure that a request may move
         consume 1 at 1/11 by Web with iv.onhand-,IV.OnHand-    => refused /physicalMeasures gives a measure twice
         consume 1 at 1/11 by Web with iv.softreserved+,@iv.@softreserved+ => refused adds to two reservation measures
         consume 1 at 1/11 by Web with iv.softreserved+,@iv.@softreserved- => refused would release 1

         reserve 0 at 1/11 on pos.nosuch      => refused /modifier is not a measure that the configuration lists for reservation
         reserve 1 at 1/11 on iv.onhand       => refused /modifier is not a measure that the configuration lists for reservation
         reserve 1 at 1/11 on IV.SoftReserved => refused 1 asked for, 0 available for reservation

         post iv.onhand+1 at siteId=1,shopId=11 using POS => version 1
         post iv.onhand+1 at siteId=1,shopId=11 => refused /dimensions/shopId is not a dimension
         post iv.onhand+1 at siteId=1,shopId=11 using iv => refused /dimensions/shopId is not a dimension
         post iv.onhand+1 at siteId=1,shopId=11 using web => refused /dimensionDataSource is not a data source
         post iv.onhand+1 at siteId=1,shopId=11,locationid=11 using pos => refused /dimensions/locationid gives a dimension twice
         then iv.onhand 1 at 1/11",
    );
}

#[test]
fn commands_mean_the_same_however_they_are_written() {
    let read = |line: &str| {
        let configuration = Configuration::new(document(), &[]).unwrap();
        command(&configuration, &HashMap::new(), line, &line.split(' ').collect::<Vec<_>>()).unwrap()
    };
    let check = |one: &str, other: &str, same: bool| {
        assert_eq!(read(one).means_the_same_as(&read(other)), same, "{one}\n{other}");
    };
    check("allocate 1 at 1/11 to Web", "allocate 1.0 at LOCATIONID=11,siteid=1 to Channel=Web", true);
    check("allocate 1 at 1/11 to Web", "allocate 1 at siteId=1,shopId=11 to Web using pos", true);
    check("allocate 1 at 1/11 to Web", "allocate 2 at 1/11 to Web", false);
    check("allocate 1 at 1/11 to Web", "allocate 1 at 1/11 to web", false);
    check("allocate 1 at 1/11 to Web", "allocate 1 at 1/11/ to Web", false);
    check("allocate 1 at 1/11 to Web", "unallocate 1 at 1/11 from Web", false);
    check("post iv.onhand+1,pos.inbound+2 at 1", "post POS.Inbound+2,IV.ONHAND+1 at 1", true);
    check("post iv.onhand+1 at 1", "set iv.onhand=1 at 1", false);
    check("set iv.onhand=1 at 1 time 5", "set iv.onhand=1 at 1 time 6", false);
    check(
        "consume 1 at 1/11 by Web with iv.onhand-,pos.inbound+",
        "consume 1 at 1/11 by Web with POS.Inbound+,iv.OnHand-",
        true,
    );
    let bike = read("allocate 1 at 1/11 to Web");
    let product = ProductKey { product: Value::parse("Helmet").unwrap(), ..bike.product.clone() };
    assert!(!bike.means_the_same_as(&Command { product, ..bike.clone() }));
    assert!(bike.means_the_same_as(&Command { id: Value::parse("another").unwrap(), ..bike.clone() }));
}

#[test]
fn a_reservation_stays_within_its_dimensions() {
    check(
        "reservable = LOCATIONID, siteId
         iv.softreserved = iv.onhand - iv.softreserved - @iv.@allocated
         post iv.onhand+10 at 1/11/red
         reserve 1 at 1/11/red on iv.softreserved => refused /dimensions/colorId is no dimension of reservations; they have locationId, siteId
         reserve 1 at siteId=1,locationId=11,sizeId= on iv.softreserved => refused /dimensions/sizeId is no dimension
         reserve 1 at siteId=1,locationId=11,width=1 on iv.softreserved => refused /dimensions/width is not a dimension
         reserve 1 at 1 on iv.softreserved => refused /dimensions lacks locationId
         reserve 1 at 1/11 on iv.softreserved as order => available 10
         allocate 1 at 1/11/red to Web => available 9",
    );
}
