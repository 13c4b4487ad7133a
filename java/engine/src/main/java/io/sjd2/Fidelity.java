package io.sjd2;

import io.sjd2.scenes.Caption;
import io.sjd2.scenes.SceneChecker;
import io.sjd2.scenes.SceneReport;
import io.sjd2.tensor.RgbImage;
import java.util.Optional;

/// How much of a prompt about scenes a picture shows, in objects.
///
/// @param objects        objects that the prompt names
/// @param colorAndPlace  of those, how many are there in the stated colour and at the stated place
/// @param shape          of those, how many are there in the stated shape
/// @param size           of those, how many are there in the stated size
/// @param extra          objects in the picture that the prompt does not name
/// @param everything     whether all that the prompt states holds
public record Fidelity(int objects, int colorAndPlace, int shape, int size, int extra, boolean everything) {

    /// Checks a picture; empty if the prompt names no object or more than the checker takes, or the picture is not of
    /// the checker's size.
    public static Optional<Fidelity> of(RgbImage image, String prompt) {
        Caption caption = Caption.parse(prompt);
        int named = caption.objects().size();
        boolean fits = image.width() == SceneChecker.SIDE && image.height() == SceneChecker.SIDE;
        if (named == 0 || named > SceneChecker.MOST_OBJECTS || !fits) {
            return Optional.empty();
        }
        SceneReport report = SceneChecker.check(image, caption);
        int placed = 0;
        int shaped = 0;
        int sized = 0;
        for (SceneReport.Finding finding : report.objects()) {
            placed += finding.found() && finding.colorOk() && finding.placeOk() ? 1 : 0;
            shaped += finding.found() && finding.shapeOk() ? 1 : 0;
            sized += finding.found() && finding.sizeOk() ? 1 : 0;
        }
        return Optional.of(
                new Fidelity(named, placed, shaped, sized, report.extra().size(), report.allHold()));
    }
}
